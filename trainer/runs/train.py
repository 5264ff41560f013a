"""Training, testing and completing a run, from a checked configuration to its results."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

from trainer.config import budget_keys, debug_keys, plugins
from trainer.config.run_config import Config
from trainer.engine import checkpoint, checkpoint_space, dataset_loading
from trainer.engine.config_errors import explain_errors
from trainer.engine.member_strategy import Member
from trainer.engine.update import Update, take_updates
from trainer.runs import (
    changed_run,
    consistency,
    final_scores,
    hub_folder,
    initial_weights,
    match_size,
    matching_run,
    resume_changes,
    run_artifacts,
    run_callbacks,
    run_dir,
    run_overrides,
    run_report,
    saved_run,
)
from trainer.runs.process_groups import open_process_group
from trainer.runs.results import Result, create_result
from trainer.runs.resume import load_saved_state, warn_of_changed_code, with_saved_fingerprint
from trainer.runs.run_context import open_run, record_outcome, record_stop
from trainer.runs.run_setup import RunComponents, build_components
from trainer.utils import signals
from trainer.utils.errors import ConfigError, Paused, SystemFault, UserError
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
    settings = debug_keys.check_is_run(config.settings)
    # Composing another configuration since has replaced the declarations.
    plugins.declare_plugins(settings.plugins, Path(config.working_dir))
    config = match_size.with_matched_size(config)
    if settings.resume is None:
        return _start_new_run(initial_weights.with_input_digests(config))
    if settings.resume != "auto":
        saved_config = saved_run.load(Path(settings.resume), settings.plugins)
        config = budget_keys.with_saved_steps(config, saved_config)
        changes = resume_changes.find_changes(config, saved_config)
        resume_changes.check_changes(changes, config, saved_config)
        saved_config = run_overrides.with_runtime_overrides(saved_config, config)
        if not changes:
            return resume_run(saved_config)
        with changed_run.create_changed_run(saved_config, config, changes) as (changed, claimed):
            return execute_run(changed, claimed.path, fall_back=False, lock=claimed.lock)
    config = initial_weights.with_input_digests(config)
    path = matching_run.find_matching_run(config, Path(config.run_dir))
    if path is None:
        similar_run = matching_run.describe_similar_run(config, Path(config.run_dir))
        print_line(f"resume=auto: no run of this configuration on this data yet; starting one{similar_run}")
        return _start_new_run(config, may_reuse=True)
    config = matching_run.with_saved_steps(config, path)
    if run_dir.read_results(path).get("status") == "finished":
        return complete_run(config, path, lock_wait=LOCK_WAIT_SECONDS)
    print_line(f"resume=auto: continuing {path}")
    return execute_run(config, path, lock_wait=LOCK_WAIT_SECONDS)


def _start_new_run(config: Config, *, may_reuse: bool = False) -> Result:
    path, lock = run_dir.claim_run(config.run_dir, may_reuse=may_reuse)
    return execute_run(config, path, lock=lock)


def resume_run(saved_config: Config) -> Result:
    """Resume a saved run, with the same results to the bit as without the interruption; complete a finished run.

    Raises:
        ConfigError: The last checkpoint is damaged; the user must decide whether to resume from the previous one. Or
            it is a hub folder, which has none.
    """
    path = Path(saved_config.run_dir)
    if hub_folder.is_hub_folder(path):
        raise ConfigError(f"{path} is a hub folder, which cannot be resumed; init_from={path} starts from its weights")
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
    if config.settings.ensemble is not None:
        from trainer.runs.ensemble_run import execute_ensemble  # which trains its members by this function

        return execute_ensemble(config, path, lock_wait=lock_wait, quiet=quiet, lock=lock)
    return take_updates(iter_run(config, path, fall_back=fall_back, lock_wait=lock_wait, quiet=quiet, lock=lock))


def iter_run(
    config: Config,
    path: Path,
    *,
    fall_back: bool = True,
    lock_wait: float = 0.0,
    quiet: bool = False,
    lock: IO[str] | None = None,
    member: Member | None = None,
    flag: signals.StopFlag | None = None,
) -> Generator[Update, None, Result]:
    """Execute a run as ``execute_run``, but leave each update of a parameter group to the caller.

    Args:
        config: Configuration of the run.
        path: The run directory, which is locked.
        fall_back: Whether the previous state may be loaded if the last one is damaged.
        lock_wait: Seconds to wait for another process that holds the lock.
        quiet: Print only a progress bar, for a nested run.
        lock: Open lock of a directory that was claimed.
        member: What the run shares with others that are trained with it; None for a run alone.
        flag: Set by the signal handler of the caller; None to handle signals here.
    """
    with open_run(config, path, lock_wait, quiet=quiet, lock=lock, flag=flag) as reporter:
        state = load_saved_state(path, fall_back=fall_back, mmap=config.settings.strategy == "fsdp")
        config = with_saved_fingerprint(config, state)
        if state is None and config.source_digest is None:  # killed before its first checkpoint
            config = initial_weights.add_source_digest(config)
        result = create_result(config, path, None if member is None else member.code)
        warn_of_changed_code(state, result)
        if state is not None and config.settings.allow_changed_data:  # the run continues on the current data
            config = dataset_loading.add_fingerprint(config)
            result.data_digest, result.exact_data_digest = config.data_digest, config.exact_data_digest
        with record_outcome(result, config, is_new=state is None), signals.prefer_interrupt(reporter.flag):
            if state is None:
                changed_run.write_config(config, path)
                _mark_running(result)
            with open_process_group(config, path, state, reporter.flag, is_nested=quiet) as process_group:
                components = build_components(config, result, reporter, state, train_nested_run, process_group, member)
                state = None  # frees its memory, and the space of a mapped file once that is replaced
                _mark_running(result)
                yield from _train_and_test(components, result, reporter, config)
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
    if config.settings.ensemble is not None:
        return execute_run(config, path, lock_wait=lock_wait, quiet=quiet)
    print_text: Callable[[str], None] = (lambda _: None) if quiet else print_line
    result = Result.read(path)
    # The previous state is not that of a finished run.
    state = load_saved_state(path, fall_back=False) if (path / checkpoint.LAST).exists() else None
    missing = consistency.find_missing_weights(path, state, result.best_epoch, result.decisions)
    missing += run_artifacts.find_missing_artifacts(
        path, result, has_metrics_file=run_callbacks.has_metrics_file(config)
    )
    if not missing or state is None:
        missing_text = f", without {', '.join(missing)}" if missing else ""
        print_text(f"{path} is finished{missing_text}; nothing to do")
        return result
    with (
        open_run(config, path, lock_wait, quiet=quiet) as reporter,
        record_outcome(result, config, is_new=False),
        signals.prefer_interrupt(reporter.flag),
    ):
        print_text(f"{path} is finished, but without {', '.join(missing)}; restoring them")
        if checkpoint.BEST in missing:
            checkpoint.save_checkpoint(consistency.extract_best(state), path / checkpoint.BEST)
        if run_callbacks.has_metrics_file(config):
            csv_logger.write_rows(path / run_dir.METRICS_FILE, state["history"])
        if run_dir.CURVES_FILE in missing:
            run_artifacts.draw_curves(path, state["history"], result)
        refits_decisions = bool(result.decisions) and not {checkpoint.BEST, consistency.DECISIONS}.isdisjoint(missing)
        draws = not set(missing) <= {checkpoint.BEST, consistency.DECISIONS, run_dir.METRICS_FILE, run_dir.CURVES_FILE}
        if refits_decisions or draws:
            components = build_components(
                with_saved_fingerprint(config, state), replace(result), reporter, state, train_nested_run
            )
            components.trainer.load_best_weights()
            if refits_decisions:
                final_scores.fit_decisions(components, reporter.flag.raise_if_stopped)
            components.trainer.task.eval()
            if draws:
                _draw_artifacts(components, result, reporter)
        print_text(f"{path} is complete")
    return result


def _train_and_test(
    components: RunComponents, result: Result, reporter: run_report.RunReporter, config: Config
) -> Generator[Update, None, None]:
    trainer = components.trainer
    with run_callbacks.close_loggers(components.loggers):
        yield from _train(components, result, reporter, config)
        final_scores.score_best_weights(components, result)
        reporter.show_scores(trainer, result)
        result.status = "finished"
        result.write()
        reporter.log_scores(result)
        reporter.flag.stop_immediately()
        artifacts, skipped = _draw_artifacts(components, result, reporter) if components.draws_figures else ([], [])
        run_callbacks.log_outcome(components.loggers, result, artifacts)
        reporter.show_summary(trainer, result, artifacts, skipped)


def _train(
    components: RunComponents, result: Result, reporter: run_report.RunReporter, config: Config
) -> Generator[Update, None, None]:
    """Train to the last step; an interrupted run gets its curves, too."""
    path, trainer = Path(result.run_dir), components.trainer
    checkpoint_space.check_disk_space(components.checkpoints, trainer.state_dict(), trainer.total_steps)
    if not reporter.quiet:
        run_dir.link_latest(path)
    try:
        with explain_errors(config.tree, "model"):
            yield from trainer.iter_fit()
    except Paused:
        raise
    except UserError as error:
        result.update_progress(trainer)
        record_stop(result, error, config)
        with suppress(SystemFault):  # the first error must be reported
            components.draw_curves(result)
        raise
    finally:
        result.update_progress(trainer)


def _draw_artifacts(
    components: RunComponents, result: Result, reporter: run_report.RunReporter
) -> tuple[list[Path], list[str]]:
    """Write the artifacts and list them in the results; return their paths, and the names of those without time."""
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
