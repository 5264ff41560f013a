"""Setup of a run: its objects, from the configuration and, for a resumed run, from the last state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.config import budget_keys, migrations, secret_masking
from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.stored_architecture import get_architecture
from trainer.core.task import Task
from trainer.engine import checkpoint, dataset_loading
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.checkpoint_retention import Retention
from trainer.engine.dataloader import Loader
from trainer.engine.member_strategy import Member
from trainer.engine.monitor import collect_directions
from trainer.engine.pause_callback import make_pause_callbacks
from trainer.engine.process_group import ProcessGroup, SingleProcess
from trainer.engine.signal_callback import make_signal_callback
from trainer.engine.trainer import Trainer
from trainer.runs import changed_run, consistency, resume_changes, run_artifacts, run_callbacks, run_report
from trainer.runs.results import Result
from trainer.runs.resume import load_trainer_state
from trainer.runs.training_setup import build_training
from trainer.utils import digests
from trainer.viz.loggers.logger import Logger
from trainer.viz.snapshots import SampleSnapshots


@dataclass
class RunComponents:
    """Objects of a run.

    Args:
        trainer: Trainer with task and parameter groups.
        loaders: Loaders of the splits, by name.
        snapshots: Saves previews during training.
        checkpoints: Saves states and best weights.
        loggers: Loggers of metrics.
        draws_figures: Whether the run draws figures; otherwise they are missing files of a finished run.
    """

    trainer: Trainer
    loaders: dict[str, Loader]
    snapshots: SampleSnapshots
    checkpoints: checkpoint.CheckpointManager
    loggers: list[Logger]
    draws_figures: bool

    def draw_curves(self, result: Result) -> None:
        """Draw the training curves so far, if the run draws figures.

        Args:
            result: Result of the run.
        """
        if self.draws_figures:
            rates = run_artifacts.collect_learning_rates(self.trainer)
            run_artifacts.draw_curves(Path(result.run_dir), self.trainer.history, result, rates)


def build_components(
    config: Config,
    result: Result,
    reporter: run_report.RunReporter,
    state: dict[str, Any] | None,
    train: Callable[[Config, Path], object],
    process_group: ProcessGroup | None = None,
    member: Member | None = None,
) -> RunComponents:
    """Build the objects of a run, restore a state if there is one, and describe them in the result.

    Args:
        config: Configuration of the run.
        result: Result of the run, which is filled in.
        reporter: Console output of the run.
        state: Last state of the run to resume; None for a new run.
        train: Trains a nested run, the feature network of sample metrics, if the task needs one.
        process_group: Processes that train together, of which this is the first one; None for one process.
        member: What the run shares with others that are trained with it; None for a run alone.
    """
    settings, path, process_group = config.settings, Path(result.run_dir), process_group or SingleProcess()
    loggers, user_callbacks = run_callbacks.make_loggers(config, path), run_callbacks.make_user_callbacks(config)
    training = build_training(config, state, process_group, train, reporter.announce_lines, member)
    config = _record_fixed_steps(training.config, config, result)
    task, data, loaders = training.task, training.data, training.loaders
    result.threads, result.device, result.monitor = training.threads, str(task.progress.device), training.monitor.name
    _add_task_info(result, task, data, training.reported)
    if member is not None:
        result.joint_runs = member.strategy.num_members

    dataset_state = dataset_loading.get_dataset_state(config, data)
    metadata = _run_metadata(config, result, task) | {"data": digests.digest_parts(dataset_state)}
    retention = Retention(settings.keep_last, settings.keep_every, settings.keep_best)
    checkpoints = checkpoint.CheckpointManager(path, metadata, dataset_state, retention)
    snapshots = SampleSnapshots(path, settings.seed, is_enabled=settings.draw and not reporter.quiet)
    checkpoint_callback = CheckpointCallback(checkpoints, settings.save_every, settings.save_every_steps)
    # Checkpoints come after all callbacks with a state, and signals after every other callback.
    callbacks: list[Callback] = [*loggers, reporter, snapshots, *user_callbacks, *training.make_early_stopping()]
    callbacks += [checkpoint_callback, *training.strategy.make_callbacks(), *make_pause_callbacks(config.pause_step)]
    callbacks.append(make_signal_callback(reporter.flag, process_group))
    trainer = training.make_trainer(callbacks)
    if state is not None:
        load_trainer_state(trainer, state, path)
        reporter.announce_lines(resume_changes.describe_moved_schedules(trainer, config))
        if _has_changed(state, dataset_state):
            # With allow_changed_data the run continues on the current data, so that the best weights belong to it.
            checkpoints.save_best(consistency.load_best(path))
    reporter.announce_lines(training.describe_processes())
    sizes = {name: loader.split.count_examples() for name, loader in loaders.items()}
    result.rows = {name: number for name, (number, _) in sizes.items()}
    reporter.announce_start(trainer, result, sizes, data.info.file_summary, data.info.baseline_rule)
    draws_figures = member is None or member.draws_figures
    return RunComponents(trainer, loaders, snapshots, checkpoints, loggers, draws_figures)


def _record_fixed_steps(fixed_config: Config, config: Config, result: Result) -> Config:
    """Save the configuration of a run whose budget has just fixed its number of steps, so that a resumed run keeps it.

    Args:
        fixed_config: Configuration with the number of steps.
        config: Configuration with which the run has started.
        result: Result of the run.

    Returns:
        The configuration with the number of steps.
    """
    if budget_keys.is_unfixed(config.tree):
        result.identity = fixed_config.config_hash
        changed_run.write_config(fixed_config, Path(result.run_dir))
    return fixed_config


def _has_changed(state: Mapping[str, Any], dataset_state: Mapping[str, Any]) -> bool:
    """Return whether the files of the data set have changed since the best weights of a state were saved."""
    keys = ("fingerprint", "row_digests")
    is_changed = bool(state["data"]) and any(state["data"].get(key) != dataset_state.get(key) for key in keys)
    return is_changed and state["best"]["step"] is not None


def _add_task_info(result: Result, task: Task, data: Dataset, reported: Sequence[str]) -> None:
    """Add the size of the task, the directions of its metrics and the reference scores of the data set to a result."""
    result.params = sum(p.numel() for p in task.parameters())
    result.higher_is_better = collect_directions(task, reported)
    result.baseline, result.best_possible = dict(data.info.baseline), dict(data.info.best_possible)


def _run_metadata(config: Config, result: Result, task: Task) -> dict[str, Any]:
    """Return the description of a run in its checkpoints, from which lost files can be recovered."""
    architecture = get_architecture(task.model)
    return {
        migrations.KEY: migrations.FORMAT_VERSION,
        "config": secret_masking.mask_tree(config.raw),
        "identity": result.identity,
        "threads": result.threads,
        "options": dict(config.names),
        "overrides": result.overrides,
        "working_dir": config.working_dir,
        "data_digest": result.data_digest,
        "exact_data_digest": result.exact_data_digest,
        "source_digest": config.source_digest,
        "versions": result.versions,
        "git": result.git,
        **({"changes": list(config.changes)} if config.changes else {}),
        **({"config_dirs": list(config.config_dirs)} if config.config_dirs else {}),
        **({} if architecture is None else {"architecture": architecture}),
    }
