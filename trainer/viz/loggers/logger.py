"""Base class of loggers, which decides what is logged and when, and handles failures of a tool."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from trainer.core import rng
from trainer.engine.callbacks import Callback, get_callback_name
from trainer.utils.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoggedRun:
    """Description of a run for loggers.

    Attributes:
        run_dir: Run directory.
        metrics_file: CSV file of the validations.
        config: Configuration with secrets masked.
    """

    run_dir: Path
    metrics_file: Path
    config: Mapping[str, Any]

    @property
    def name(self) -> str:
        """Name of the run directory."""
        return self.run_dir.name

    def flatten_config(self) -> dict[str, Any]:
        """Return the values of the configuration by dotted key."""
        return dict(_flatten(self.config, ""))


def _flatten(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


class Logger(Callback):
    """Base class of loggers, which send metrics and figures of a run to a tracking tool.

    Metrics are ``train/...`` every ``log_every`` steps, ``epoch/...`` and ``val/...`` after each validation, and
    ``test/...`` at the end.

    A subclass opens the tool, writes to it and closes it. If the tool fails, a warning is printed and logging ends, but
    training continues. A resumed run continues the tool's run whose id is in the checkpoint. Steps between the
    checkpoint and a crash are trained again with the same results; metrics that the tool already has are skipped.
    """

    package: ClassVar[str] = ""
    """Module that must be installed."""
    extra: ClassVar[str] = ""
    """Extra of train-zoo that installs it."""

    # Class attributes, so that a subclass need not call super().__init__.
    run: LoggedRun | None = None
    log_every = 1
    run_id: str | None = None
    _is_open = False
    _logged_steps: Mapping[str, int] = MappingProxyType({})

    def setup(self, run: LoggedRun, log_every: int) -> None:
        """Set the run to log, before training.

        Args:
            run: Description of the run.
            log_every: Steps between logged step metrics.

        Raises:
            ConfigError: The package of the tool is not installed.
        """
        if self.package and importlib.util.find_spec(self.package) is None:
            raise ConfigError(
                f"{get_callback_name(self)}: the package {self.package} is not installed:"
                f" pip install 'train-zoo[{self.extra}]'"
            )
        self.run, self.log_every = run, log_every

    # Interface of subclasses.

    def open(self, run: LoggedRun, run_id: str | None, step: int) -> str:
        """Open the tool and return the id of the run in the tool.

        Args:
            run: Description of the run.
            run_id: Id that this method returned before the run was stopped; None for a new run.
            step: Completed steps. Later steps that the tool already has will be logged again.
        """
        raise NotImplementedError

    def read_logged_steps(self) -> dict[str, int]:
        """Return the last step of each metric that the tool has of a resumed run."""
        return {}

    def write_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write metrics of a step.

        Args:
            metrics: Values by name.
            step: Completed steps.
        """
        raise NotImplementedError

    def write_images(self, files: Sequence[Path], step: int) -> None:
        """Write the figures of a finished run.

        Args:
            files: Image files.
            step: Completed steps.
        """

    def flush(self) -> None:
        """Write everything that the tool has buffered."""

    def close(self, status: str) -> None:
        """Close the tool.

        Args:
            status: ``finished``, ``interrupted`` or ``failed``.
        """

    # Hooks of the trainer.

    def on_fit_start(self, trainer: Trainer) -> None:
        self._is_open = self.run is not None
        self._attempt(self._open, trainer.step)

    def _open(self, step: int) -> None:
        assert self.run is not None
        is_resumed = self.run_id is not None
        self.run_id = self.open(self.run, self.run_id, step)
        self._logged_steps = self.read_logged_steps() if is_resumed else {}

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if trainer.step % self.log_every == 0 or trainer.step == trainer.total_steps:
            self.log_metrics({f"train/{name}": value for name, value in metrics.items()}, trainer.step)

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        metrics = {rename_column(name): value for name, value in row.items() if name != "step"}
        self.log_metrics(metrics, trainer.step)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        self.end("interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed")

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Write the metrics of a step that the tool does not have yet.

        Args:
            metrics: Values by name.
            step: Completed steps.
        """
        new = {name: value for name, value in metrics.items() if step > self._logged_steps.get(name, -1)}
        if new:
            self._attempt(self.write_metrics, new, step)

    def log_images(self, files: Sequence[Path], step: int) -> None:
        """Write figures, if there are any.

        Args:
            files: Image files.
            step: Completed steps.
        """
        if files:
            self._attempt(self.write_images, files, step)

    def end(self, status: str) -> None:
        """Close the tool, if it is open.

        Args:
            status: ``finished``, ``interrupted`` or ``failed``.
        """
        self._attempt(self.close, status)
        self._is_open = False

    def _attempt(self, action: Callable[..., None], *args: Any) -> None:
        """Call the tool without changing random states; disable the logger after the first failure."""
        if not self._is_open:
            return
        try:
            with rng.preserve_generators():
                action(*args)
        except Interrupted:
            raise
        except (Exception, SystemExit) as error:  # a tool may call sys.exit; KeyboardInterrupt passes
            self._is_open = False
            log.info("%s failed", get_callback_name(self), exc_info=error)
            reason = (str(error).splitlines() or [""])[0][:300]
            failure = f"{get_callback_name(self)}: {type(error).__name__}: {reason}"
            log.warning("%s; logging to it ends, training continues", failure)

    def state_dict(self) -> dict[str, Any]:
        """Return the id of the run in the tool, after flushing everything before the checkpoint."""
        self._attempt(self.flush)
        return {"run_id": self.run_id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        run_id = state.get("run_id")
        if run_id is not None and not isinstance(run_id, str):
            raise ValueError(f"run_id is {run_id!r}, not text")
        self.run_id = run_id


def rename_column(name: str) -> str:
    """Return the metric name for a column of metrics.csv: ``val/accuracy``, or ``epoch/train_loss`` for others."""
    return f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"epoch/{name}"
