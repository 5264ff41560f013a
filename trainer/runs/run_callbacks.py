"""Loggers and user-defined callbacks of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from trainer.config import secret_masking
from trainer.config.run_config import Config
from trainer.engine import factory
from trainer.engine.callbacks import Callback
from trainer.runs import run_dir
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, Interrupted, UserError
from trainer.viz.loggers.csv_logger import CSVLogger
from trainer.viz.loggers.logger import LoggedRun, Logger

T = TypeVar("T", bound=Callback)


def make_loggers(config: Config, path: Path) -> list[Logger]:
    """Build and set up the loggers of a run.

    Args:
        config: Configuration of the run.
        path: The run directory.

    Raises:
        ConfigError: A class is not a logger, cannot be built, or needs a package that is not installed.
    """
    run = LoggedRun(path, path / run_dir.METRICS_FILE, secret_masking.mask_tree(config.raw))
    loggers = _make_entries("logger", config.tree["logger"], Logger)
    for logger in loggers:
        logger.setup(run, config.settings.log_every)
    return loggers


def make_user_callbacks(config: Config) -> list[Callback]:
    """Build the user-defined callbacks of a run.

    Raises:
        ConfigError: A class is not a callback, or cannot be built.
    """
    return _make_entries("callbacks", config.tree["callbacks"], Callback)


def _make_entries(group: str, nodes: Mapping[str, Mapping[str, Any]], kind: type[T]) -> list[T]:
    """Build the objects of a configuration group, named by their keys."""
    entries = []
    for name, node in nodes.items():
        key = f"{group}.{name}"
        try:
            entry = factory.instantiate_node(node, kind)
        except UserError:
            raise
        except Exception as error:
            raise ConfigError(f"{key}: {node['_target_']} cannot be built: {type(error).__name__}: {error}") from error
        entry.name = key
        entries.append(entry)
    return entries


def has_metrics_file(config: Config) -> bool:
    """Return whether a run of this configuration writes ``metrics.csv``."""
    return any(factory.find_class(node, Logger) is CSVLogger for node in config.tree["logger"].values())


@contextmanager
def close_loggers(loggers: Sequence[Logger]) -> Iterator[None]:
    """Close all loggers at the end of the block, with the status of the run."""
    try:
        yield
    except BaseException as error:
        for logger in loggers:
            logger.end("interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")
        raise
    for logger in loggers:
        logger.end("finished")


def log_outcome(loggers: Sequence[Logger], result: Result, artifacts: Sequence[Path]) -> None:
    """Log the test scores of the best weights, and the figures of a finished run.

    Args:
        loggers: The loggers.
        result: Result of the run.
        artifacts: Paths of the artifacts; images are logged.
    """
    curves = Path(result.run_dir) / run_dir.CURVES_FILE
    images = [path for path in (curves, *artifacts) if path.suffix == ".png" and path.is_file()]
    for logger in loggers:
        logger.log_metrics({f"test/{name}": value for name, value in result.test.items()}, result.steps)
        logger.log_images(images, result.steps)
