"""A run from a checked configuration to its results: the hops between the command line and the loop."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from omegaconf import OmegaConf

from trainer.config import migrations, secret_masking
from trainer.config.compose import Config
from trainer.core import rng
from trainer.engine import checkpoint, dataset_loading, device
from trainer.engine.config_errors import explain_errors
from trainer.engine.dataloader import Loader
from trainer.engine.trainer import Trainer
from trainer.runs import consistency, resume, run_artifacts, run_callbacks, run_dir, run_log, run_report, saved_run
from trainer.runs.results import Result, create_result
from trainer.runs.run_setup import RunComponents, build_components, load_saved_state, with_saved_fingerprint
from trainer.utils import atomic_write, signals
from trainer.utils.errors import ConfigError, Interrupted, SystemFault, UserError
from trainer.viz import time_limit
from trainer.viz.console import print_line
from trainer.viz.loggers import csv_logger

log = logging.getLogger(__name__)


LOCK_WAIT_SECONDS = 5.0
"""Seconds that ``resume=auto`` gives another process that is about to leave the run folder."""


def run(config: Config) -> Result:
    """Trains, validates and tests; or goes on with a run that was stopped, if ``resume`` says so."""
    settings = config.settings
    if settings.resume is None:
        return _start_new_run(dataset_loading.add_fingerprint(config))
    if settings.resume != "auto":
        kept = saved_run.load(Path(settings.resume), settings.plugins)
        changed = saved_run.diff(config, kept)
        if changed:
            raise ConfigError(*changed, "the configuration of a resumed run is fixed; start a new run to change it")
        return resume_run(saved_run.with_runtime_overrides(kept, config))
    config = dataset_loading.add_fingerprint(config)
    found = resume.find_matching_run(config, Path(config.run_dir))
    if found is None:
        other = resume.describe_other_data(config, Path(config.run_dir))
        print_line(f"resume=auto: no run of this configuration on this data yet; starting one{other}")
        return _start_new_run(config, may_reuse=True)
    if run_dir.read_results(found).get("status") == "finished":
        return complete_run(config, found, patience=LOCK_WAIT_SECONDS)
    return execute_run(config, found, patience=LOCK_WAIT_SECONDS)


def _start_new_run(config: Config, *, may_reuse: bool = False) -> Result:
    path, lock = run_dir.claim_run(config.run_dir, may_reuse=may_reuse)
    return execute_run(config, path, lock=lock)


def resume_run(kept: Config) -> Result:
    """Goes on with a stored run, to the bits it would have had without the stop; a finished one is made complete.

    Raises ConfigError if its last checkpoint is damaged: which one to go on from is then for the user to say.
    """
    path = Path(kept.run_dir)
    if run_dir.read_results(path).get("status") == "finished":
        return complete_run(kept, path)
    return execute_run(kept, path, fall_back=False)


def execute_run(
    config: Config,
    path: Path,
    *,
    fall_back: bool = True,
    patience: float = 0.0,
    quiet: bool = False,
    lock: IO[str] | None = None,
) -> Result:
    """One run in its folder, which it alone may write to; from its last checkpoint if it has one.

    lock: of a folder that was claimed for it. quiet: nothing but a bar on the terminal, for a run within another.
    """
    with _open_run(config, path, patience, quiet=quiet, lock=lock) as screen:
        state = load_saved_state(path, fall_back=fall_back)
        config = with_saved_fingerprint(config, state)
        result = create_result(config, path)
        if state is not None and config.settings.allow_changed_data:  # from here on it is a run of what lies there now
            config = dataset_loading.add_fingerprint(config)
            result.data_digest = config.data_digest
        with _record_outcome(result, config, fresh=state is None), signals.prefer_interrupt(screen.flag):
            if state is None:
                saved = {migrations.KEY: migrations.FORMAT_VERSION} | secret_masking.mask_tree(config.raw)
                atomic_write.write_text(path / run_dir.CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(saved)))
                _mark_running(result)
            made = build_components(config, result, screen, state, train_nested_run)
            _mark_running(result)
            _train_and_test(made, result, screen, config)
    return result


def _mark_running(result: Result) -> None:
    """From here on what happens to the run stands in its results; a stored run that is refused before is as it was."""
    result.status = "running"
    result.write()


def complete_run(config: Config, path: Path, patience: float = 0.0, *, quiet: bool = False) -> Result:
    """Makes up for the files that a finished run lacks: it may have been killed while it drew them.

    quiet: as of ``start``.

    Raises ConfigError for files that are not of one run, and for best weights that are lost.
    """
    tell = _ignore_text if quiet else print_line
    result = Result.read(path)
    # A state before the last one is none of a finished run.
    state = load_saved_state(path, fall_back=False) if (path / checkpoint.LAST).exists() else None
    lost = [checkpoint.BEST] if consistency.is_best_lost(path, state, result.best_epoch) else []
    lost += run_artifacts.find_missing_artifacts(path, result, has_metrics_file=run_callbacks.has_metrics_file(config))
    if not lost or state is None:
        without = f", without {', '.join(lost)}" if lost else ""
        tell(f"{path} is finished{without}; nothing to do")
        return result
    with (
        _open_run(config, path, patience, quiet=quiet) as screen,
        _record_outcome(result, config, fresh=False),
        signals.prefer_interrupt(screen.flag),
    ):
        tell(f"{path} is finished, but without {', '.join(lost)}; going on with that")
        if checkpoint.BEST in lost:
            checkpoint.save_checkpoint(consistency.extract_best(state), path / checkpoint.BEST)
        if run_callbacks.has_metrics_file(config):
            csv_logger.write_rows(path / run_dir.METRICS_FILE, state["history"])
        if run_dir.CURVES_FILE in lost:
            run_artifacts.draw_curves(path, state["history"], result)
        if not set(lost) <= {checkpoint.BEST, run_dir.METRICS_FILE, run_dir.CURVES_FILE}:
            made = build_components(
                with_saved_fingerprint(config, state), replace(result), screen, state, train_nested_run
            )
            made.trainer.load_best_weights()
            made.trainer.task.eval()
            _draw_artifacts(made, result, screen)
        tell(f"{path} is complete")
    return result


def _ignore_text(text: str) -> None:
    """Takes the place of ``print_line`` in a run within another."""


@contextmanager
def _open_run(
    config: Config, path: Path, patience: float, *, quiet: bool = False, lock: IO[str] | None = None
) -> Iterator[run_report.RunReporter]:
    """A block in which this process alone works in a run folder, writes its log, and answers signals."""
    with (
        run_dir.lock_run(path, patience, lock),
        run_log.log_to_file(path, partial(secret_masking.hide_values, tree=config.raw)),
        signals.capture_signals() as flag,
        run_report.RunReporter(flag, verbose=config.settings.verbose, quiet=quiet) as screen,
    ):
        if not quiet:
            flag.print_on_exit(path / checkpoint.LAST, _resume_command(config, path))
        yield screen


@contextmanager
def _record_outcome(result: Result, config: Config, *, fresh: bool) -> Iterator[None]:
    """A block whose end is written into the results, whatever it ends by, and told as it should be."""
    path = Path(result.folder)
    try:
        with explain_errors(config.tree, "model"):
            yield
    except Interrupted as error:
        _record_stop(result, error, config)
        # Of a run within another, a classifier's, the outer one has the last word: it goes on with both.
        raise Interrupted(error.message, error.signal_number, _resume_command(config, path)) from None
    except UserError as error:
        _record_stop(result, error, config)
        if fresh and isinstance(error, ConfigError | SystemFault):
            run_dir.remove_if_empty(path)
        raise
    except BaseException as error:
        _record_stop(result, error, config)
        if device.is_out_of_memory(error):
            reason = str(error).split("\n")[0]
            raise SystemFault(f"out of memory: {reason}; try a smaller batch_size, or accumulate") from error
        with suppress(SystemFault):  # what cannot be logged must not take the place of what went wrong
            log.exception("failed")
        raise


def _resume_command(config: Config, path: Path) -> str:
    """What goes on with a run."""
    plugins = config.settings.plugins
    return f"train resume {path}" + (f" plugins=[{','.join(plugins)}]" if plugins else "")


def _record_stop(result: Result, error: BaseException, config: Config) -> None:
    """Writes why a run ended, once; what was finished stays finished, and what cannot be written hides nothing."""
    if result.reason is not None:
        return
    reason = secret_masking.hide_values(f"{type(error).__name__}: {error}", config.raw)
    if result.status == "running":
        result.status = "interrupted" if isinstance(error, Interrupted | KeyboardInterrupt) else "failed"
        result.reason = reason
        with suppress(SystemFault):
            result.write_in_place()
    with suppress(SystemFault):
        log.info("%s", reason)


def _train_and_test(made: RunComponents, result: Result, screen: run_report.RunReporter, config: Config) -> None:
    trainer = made.trainer
    with run_callbacks.close_loggers(made.loggers):
        _train(made, result, screen, config)
        _test(trainer, made.loaders["test"], result)
        screen.show_scores(trainer, result)
        result.status = "finished"
        result.write()
        screen.log_scores(result)
        screen.flag.stop_immediately()
        drawn, missed = _draw_artifacts(made, result, screen)
        run_callbacks.log_outcome(made.loggers, result, drawn)
        screen.show_summary(trainer, result, drawn, missed)


def _train(made: RunComponents, result: Result, screen: run_report.RunReporter, config: Config) -> None:
    """To the last step; what stops it before has its curves, too."""
    path, trainer = Path(result.folder), made.trainer
    checkpoint.check_disk_space(path, trainer.state_dict(), made.checkpoints.shared_state)
    if not screen.quiet:
        run_dir.link_latest(path)
    try:
        with explain_errors(config.tree, "model"):
            trainer.fit()
    except UserError as error:
        result.update_progress(trainer)
        _record_stop(result, error, config)
        with suppress(SystemFault):  # the first fault is the one to tell
            run_artifacts.draw_curves(path, trainer.history, result, run_artifacts.collect_learning_rates(trainer))
        raise
    finally:
        result.update_progress(trainer)


def _test(trainer: Trainer, test: Loader, result: Result) -> None:
    """Scores the best weights, beside what the data and the task can be measured by."""
    trainer.load_best_weights()
    result.test = trainer.evaluate_loader(test, notify=True)
    with rng.fork_rng(result.seed, test.device):
        baseline, best = trainer.task.reference_scores()
    result.baseline, result.best_possible = baseline | result.baseline, best | result.best_possible


def _draw_artifacts(
    made: RunComponents, result: Result, screen: run_report.RunReporter
) -> tuple[list[Path], list[str]]:
    """Draws what there is to see; a run is complete when its results name it.

    Gives the paths, and what there was no time for.
    """
    settings = made.trainer.settings
    clock = time_limit.TimeLimit(settings.draw_seconds, screen.announce_drawing, screen.flag.raise_if_stopped)
    drawn, missed = run_artifacts.draw_artifacts(made.trainer, made.loaders["test"], made.snapshots, result, clock)
    result.artifacts = [path.name for path in drawn]
    result.write()
    return drawn, missed


def train_nested_run(config: Config, path: Path) -> Result:
    """Trains the classifier that a run compares its rows by, or makes it complete."""
    is_finished = run_dir.read_results(path).get("status") == "finished"
    return complete_run(config, path, quiet=True) if is_finished else execute_run(config, path, quiet=True)
