"""Training, testing and completing a run, from a checked configuration to its results."""

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
from trainer.engine.dataloader import Loader
from trainer.engine.model_errors import explain_model_errors
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
"""Seconds that ``resume=auto`` waits for another process that is about to unlock the run directory."""


def run(config: Config) -> Result:
    """Train, validate and test; with ``resume``, continue an interrupted run.

    Raises:
        ConfigError: The run to resume is missing, or its configuration is different.
        Interrupted: A signal has stopped the run.
    """
    settings = config.settings
    if settings.resume is None:
        return _start_new_run(dataset_loading.add_fingerprint(config))
    if settings.resume != "auto":
        saved_config = saved_run.load(Path(settings.resume), settings.plugins)
        conflicts = saved_run.find_conflicting_overrides(config, saved_config)
        if conflicts:
            raise ConfigError(*conflicts, "the configuration of a resumed run is fixed; start a new run to change it")
        return resume_run(saved_run.with_runtime_overrides(saved_config, config))
    config = dataset_loading.add_fingerprint(config)
    path = resume.find_matching_run(config, Path(config.run_dir))
    if path is None:
        other_data = resume.describe_other_data(config, Path(config.run_dir))
        print_line(f"resume=auto: no run of this configuration on this data yet; starting one{other_data}")
        return _start_new_run(config, may_reuse=True)
    if run_dir.read_results(path).get("status") == "finished":
        return complete_run(config, path, lock_wait=LOCK_WAIT_SECONDS)
    return execute_run(config, path, lock_wait=LOCK_WAIT_SECONDS)


def _start_new_run(config: Config, *, may_reuse: bool = False) -> Result:
    path, lock = run_dir.claim_run(config.run_dir, may_reuse=may_reuse)
    return execute_run(config, path, lock=lock)


def resume_run(saved_config: Config) -> Result:
    """Resume a saved run, with the same results to the bit as without the interruption; complete a finished run.

    Raises:
        ConfigError: The last checkpoint is damaged; the user must decide whether to resume from the previous one.
    """
    path = Path(saved_config.run_dir)
    if run_dir.read_results(path).get("status") == "finished":
        return complete_run(saved_config, path)
    return execute_run(saved_config, path, fall_back=False)


def execute_run(
    config: Config,
    path: Path,
    *,
    fall_back: bool = True,
    lock_wait: float = 0.0,
    quiet: bool = False,
    lock: IO[str] | None = None,
) -> Result:
    """Execute a run in its directory, from its last checkpoint if it has one.

    Args:
        config: Configuration of the run.
        path: The run directory, which is locked.
        fall_back: Whether the previous state may be loaded if the last one is damaged.
        lock_wait: Seconds to wait for another process that holds the lock.
        quiet: Print only a progress bar, for a nested run.
        lock: Open lock of a directory that was claimed.
    """
    with _open_run(config, path, lock_wait, quiet=quiet, lock=lock) as reporter:
        state = load_saved_state(path, fall_back=fall_back)
        config = with_saved_fingerprint(config, state)
        result = create_result(config, path)
        if state is not None and config.settings.allow_changed_data:  # the run continues on the current data
            config = dataset_loading.add_fingerprint(config)
            result.data_digest = config.data_digest
        with _record_outcome(result, config, is_new=state is None), signals.prefer_interrupt(reporter.flag):
            if state is None:
                saved = {migrations.KEY: migrations.FORMAT_VERSION} | secret_masking.mask_tree(config.raw)
                atomic_write.write_text(path / run_dir.CONFIG_FILE, OmegaConf.to_yaml(OmegaConf.create(saved)))
                _mark_running(result)
            components = build_components(config, result, reporter, state, train_nested_run)
            _mark_running(result)
            _train_and_test(components, result, reporter, config)
    return result


def _mark_running(result: Result) -> None:
    """Mark a run as running; a saved run that is rejected earlier remains unchanged."""
    result.status = "running"
    result.write()


def complete_run(config: Config, path: Path, lock_wait: float = 0.0, *, quiet: bool = False) -> Result:
    """Restore missing files of a finished run, which may have been killed while it wrote its figures.

    Args:
        config: Configuration of the run.
        path: The run directory.
        lock_wait: Seconds to wait for another process that holds the lock.
        quiet: Print only a progress bar, for a nested run.

    Raises:
        ConfigError: The files belong to different runs, or the best weights are lost.
    """
    print_text = _ignore_text if quiet else print_line
    result = Result.read(path)
    # The previous state is not that of a finished run.
    state = load_saved_state(path, fall_back=False) if (path / checkpoint.LAST).exists() else None
    missing = [checkpoint.BEST] if consistency.is_best_lost(path, state, result.best_epoch) else []
    missing += run_artifacts.find_missing_artifacts(
        path, result, has_metrics_file=run_callbacks.has_metrics_file(config)
    )
    if not missing or state is None:
        missing_text = f", without {', '.join(missing)}" if missing else ""
        print_text(f"{path} is finished{missing_text}; nothing to do")
        return result
    with (
        _open_run(config, path, lock_wait, quiet=quiet) as reporter,
        _record_outcome(result, config, is_new=False),
        signals.prefer_interrupt(reporter.flag),
    ):
        print_text(f"{path} is finished, but without {', '.join(missing)}; restoring them")
        if checkpoint.BEST in missing:
            checkpoint.save_checkpoint(consistency.extract_best(state), path / checkpoint.BEST)
        if run_callbacks.has_metrics_file(config):
            csv_logger.write_rows(path / run_dir.METRICS_FILE, state["history"])
        if run_dir.CURVES_FILE in missing:
            run_artifacts.draw_curves(path, state["history"], result)
        if not set(missing) <= {checkpoint.BEST, run_dir.METRICS_FILE, run_dir.CURVES_FILE}:
            components = build_components(
                with_saved_fingerprint(config, state), replace(result), reporter, state, train_nested_run
            )
            components.trainer.load_best_weights()
            components.trainer.task.eval()
            _draw_artifacts(components, result, reporter)
        print_text(f"{path} is complete")
    return result


def _ignore_text(text: str) -> None:
    """Replace ``print_line`` in a nested run."""


@contextmanager
def _open_run(
    config: Config, path: Path, lock_wait: float, *, quiet: bool = False, lock: IO[str] | None = None
) -> Iterator[run_report.RunReporter]:
    """Lock a run directory within the block, write its log there, and handle signals."""
    with (
        run_dir.lock_run(path, lock_wait, lock),
        run_log.log_to_file(path, partial(secret_masking.hide_values, tree=config.raw)),
        signals.capture_signals() as flag,
        run_report.RunReporter(flag, verbose=config.settings.verbose, quiet=quiet) as reporter,
    ):
        if not quiet:
            flag.print_on_exit(path / checkpoint.LAST, _resume_command(config, path))
        yield reporter


@contextmanager
def _record_outcome(result: Result, config: Config, *, is_new: bool) -> Iterator[None]:
    """Record in the results how the block ends, and convert errors to those of the user."""
    path = Path(result.folder)
    try:
        with explain_model_errors(config.tree["model"]):
            yield
    except Interrupted as error:
        _record_stop(result, error, config)
        # For a nested run, the outer run replaces the command: resuming it resumes both.
        raise Interrupted(error.message, error.signal_number, _resume_command(config, path)) from None
    except UserError as error:
        _record_stop(result, error, config)
        if is_new and isinstance(error, ConfigError | SystemFault):
            run_dir.remove_if_empty(path)
        raise
    except BaseException as error:
        _record_stop(result, error, config)
        if device.is_out_of_memory(error):
            reason = str(error).split("\n")[0]
            raise SystemFault(f"out of memory: {reason}; try a smaller batch_size, or accumulate") from error
        with suppress(SystemFault):  # an error of the log must not hide the cause
            log.exception("failed")
        raise


def _resume_command(config: Config, path: Path) -> str:
    """Return the command that resumes a run."""
    plugins = config.settings.plugins
    return f"train resume {path}" + (f" plugins=[{','.join(plugins)}]" if plugins else "")


def _record_stop(result: Result, error: BaseException, config: Config) -> None:
    """Record once why a run ended; finished runs stay finished, and write errors do not hide the cause."""
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


def _train_and_test(
    components: RunComponents, result: Result, reporter: run_report.RunReporter, config: Config
) -> None:
    trainer = components.trainer
    with run_callbacks.close_loggers(components.loggers):
        _train(components, result, reporter, config)
        _test(trainer, components.loaders["test"], result)
        reporter.show_scores(trainer, result)
        result.status = "finished"
        result.write()
        reporter.log_scores(result)
        reporter.flag.stop_immediately()
        artifacts, skipped = _draw_artifacts(components, result, reporter)
        run_callbacks.log_outcome(components.loggers, result, artifacts)
        reporter.show_summary(trainer, result, artifacts, skipped)


def _train(components: RunComponents, result: Result, reporter: run_report.RunReporter, config: Config) -> None:
    """Train to the last step; an interrupted run gets its curves, too."""
    path, trainer = Path(result.folder), components.trainer
    checkpoint.check_disk_space(path, trainer.state_dict(), components.checkpoints.shared_state)
    if not reporter.quiet:
        run_dir.link_latest(path)
    try:
        with explain_model_errors(config.tree["model"]):
            trainer.fit()
    except UserError as error:
        result.update_progress(trainer)
        _record_stop(result, error, config)
        with suppress(SystemFault):  # the first error must be reported
            run_artifacts.draw_curves(path, trainer.history, result, run_artifacts.collect_learning_rates(trainer))
        raise
    finally:
        result.update_progress(trainer)


def _test(trainer: Trainer, test: Loader, result: Result) -> None:
    """Evaluate the best weights on the test split, and add baseline and best possible scores."""
    trainer.load_best_weights()
    result.test = trainer.evaluate_loader(test, notify=True)
    with rng.fork_rng(result.seed, test.device):
        baseline, best = trainer.task.reference_scores()
    result.baseline, result.best_possible = baseline | result.baseline, best | result.best_possible


def _draw_artifacts(
    components: RunComponents, result: Result, reporter: run_report.RunReporter
) -> tuple[list[Path], list[str]]:
    """Write the artifacts and list them in the results, which completes the run.

    Returns:
        Paths of the artifacts, and names of those that were skipped for lack of time.
    """
    settings = components.trainer.settings
    limit = time_limit.TimeLimit(settings.draw_seconds, reporter.announce_drawing, reporter.flag.raise_if_stopped)
    artifacts, skipped = run_artifacts.draw_artifacts(
        components.trainer, components.loaders["test"], components.snapshots, result, limit
    )
    result.artifacts = [path.name for path in artifacts]
    result.write()
    return artifacts, skipped


def train_nested_run(config: Config, path: Path) -> Result:
    """Train or complete the feature network of a run, with a progress bar only.

    Args:
        config: Configuration of the nested run.
        path: Its run directory.
    """
    is_finished = run_dir.read_results(path).get("status") == "finished"
    return complete_run(config, path, quiet=True) if is_finished else execute_run(config, path, quiet=True)
