"""Setup of a run: its objects, from the configuration and, for a resumed run, from the last state."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer.config import migrations, secret_masking
from trainer.config.compose import Config
from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.metric import Metric
from trainer.core.task import Task
from trainer.engine import checkpoint, checkpoint_schema, dataset_loading, device, factory, sanity_check
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.dataloader import Loader
from trainer.engine.early_stopping import EarlyStopping
from trainer.engine.monitor import collect_directions, select_monitor
from trainer.engine.signal_stop import SignalStop
from trainer.engine.trainer import Trainer
from trainer.runs import consistency, fid_feature_network, run_callbacks, run_report
from trainer.runs.results import Result
from trainer.utils import digests
from trainer.utils.errors import ConfigError
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
    """

    trainer: Trainer
    loaders: dict[str, Loader]
    snapshots: SampleSnapshots
    checkpoints: checkpoint.CheckpointManager
    loggers: list[Logger]


def build_components(
    config: Config,
    result: Result,
    reporter: run_report.RunReporter,
    state: dict[str, Any] | None,
    train: Callable[[Config, Path], object],
) -> RunComponents:
    """Build the objects of a run, restore a state if there is one, and describe them in the result.

    Args:
        config: Configuration of the run.
        result: Result of the run, which is filled in.
        reporter: Console output of the run.
        state: Last state of the run to resume; None for a new run.
        train: Trains a nested run, the feature network of sample metrics, if the task needs one.
    """
    settings, path = config.settings, Path(result.folder)
    loggers, user_callbacks = run_callbacks.make_loggers(config, path), run_callbacks.make_user_callbacks(config)
    select = device.select_device if state is None else device.select_available_device
    target_device = select(settings.device)
    torch.set_num_threads(1)
    device.keep_freed_memory()
    data = (
        dataset_loading.load_dataset(config) if state is None else dataset_loading.reload_dataset(config, state["data"])
    )
    fid_feature_network.attach_feature_extractor(config, data, train)
    # After loading the data: its imports may draw random numbers, once per process.
    rng.seed_everything(settings.seed)
    task = factory.make_task(config.tree, data, config.names).to(target_device)
    loaders = factory.make_loaders(config.tree, data, settings, target_device)
    reported = sanity_check.run_sanity_check(task, loaders["train"], config.tree["model"], settings.precision)
    monitor = select_monitor(task, settings.monitor, reported)
    result.threads = (
        state["about"]["threads"]
        if state
        else settings.threads or device.choose_threads(task, sanity_check.make_small_batch(loaders["train"]))
    )
    torch.set_num_threads(result.threads)
    result.device, result.monitor = str(target_device), monitor.name
    _add_task_info(result, task, data, reported)

    dataset_state = dataset_loading.get_dataset_state(config, data)
    checkpoints = checkpoint.CheckpointManager(
        path, _run_metadata(config, result) | {"data": digests.digest_parts(dataset_state)}, dataset_state
    )
    snapshots = SampleSnapshots(path, settings.seed, is_enabled=settings.draw and not reporter.quiet)
    checkpoint_callback = CheckpointCallback(checkpoints, settings.save_every)
    early_stopping = [] if settings.patience is None else [EarlyStopping(settings.patience)]
    # Checkpoints come after all callbacks with a state, and signals after every other callback.
    callbacks: list[Callback] = [*loggers, reporter, snapshots, *user_callbacks, *early_stopping]
    callbacks += [checkpoint_callback, SignalStop(reporter.flag)]
    param_groups = factory.make_param_groups(config.tree, settings, task, loaders["train"])
    trainer = Trainer(task, param_groups, loaders["train"], loaders["val"], settings, callbacks)
    if state is not None:
        load_trainer_state(trainer, state, path)
        if state["data"] and state["data"]["fingerprint"] != dataset_state["fingerprint"] and state["best"]["step"]:
            # With allow_changed_data the run continues on the current data, so that the best weights belong to it.
            checkpoints.save_best(consistency.load_best(path))
    sizes = {name: loader.split.count_examples() for name, loader in loaders.items()}
    reporter.announce_start(trainer, result, sizes, data.info.file_summary, data.info.baseline_rule)
    return RunComponents(trainer, loaders, snapshots, checkpoints, loggers)


def _add_task_info(result: Result, task: Task, data: Dataset, reported: Sequence[str]) -> None:
    """Add the size of the task, the directions of its metrics and the reference scores of the data set to a result."""
    result.params = sum(p.numel() for p in task.parameters())
    result.higher_is_better = collect_directions(task, reported)
    result.baseline, result.best_possible = dict(data.info.baseline), dict(data.info.best_possible)


def load_trainer_state(trainer: Trainer, state: dict[str, Any], path: Path) -> None:
    """Validate a state and restore a trainer from it.

    Args:
        trainer: The trainer, newly built.
        state: The last state.
        path: The run directory, which contains the best weights.

    Raises:
        ConfigError: The state does not belong to this trainer, or the best weights do not belong to the state.
    """
    file = path / checkpoint.LAST
    consistency.check_weights(trainer.task, state, file)
    state = split_flat_states(trainer, state)
    checkpoint_schema.check_trained_state(state, trainer, file)
    best, last_best = None, state["best"]
    _check_direction(trainer.monitor_metric, last_best)
    if last_best["step"]:
        best = consistency.load_best(path)
        consistency.check_weights(trainer.task, best, path / checkpoint.BEST)
        checkpoint_schema.check_best(best, state, path / checkpoint.BEST)
        if best["step"] > last_best["step"]:
            # The run was killed between writing the two files, so that the best weights of this state are lost. The
            # next validation replaces them, and the later best weights are computed again, to the same bits.
            state = state | {"best": last_best | {"score": None, "finer": None}}
    trainer.load_state_dict(state, best)
    if best is not None and best["step"] > last_best["step"] and trainer.is_finished():
        steps_text = (
            f"has weights of step {best['step']}; {file.name} of a run that is over, of step {last_best['step']}"
        )
        raise ConfigError(f"{path / checkpoint.BEST}: {steps_text}", "they were not saved together")


def _check_direction(metric: Metric, best: Mapping[str, Any]) -> None:
    """Raise ConfigError if the direction of the monitored metric has changed since the run was started."""
    higher_is_better = metric.higher_is_better
    if best.get("higher_is_better", higher_is_better) != higher_is_better:
        raise ConfigError(
            f"monitor: {metric.name} is declared with higher_is_better={higher_is_better}; when the run was started it"
            f" was {not higher_is_better}, which selected its best weights: resume it with that"
        )


def split_flat_states(trainer: Trainer, state: dict[str, Any]) -> dict[str, Any]:
    """Convert the flat optimizer states of checkpoint versions 1 and 2 to states by parameter name.

    Args:
        trainer: The trainer, for its parameter groups.
        state: The last state, of any version.
    """
    saved = state["players"]
    if not isinstance(saved, Mapping):
        return state
    groups = trainer.param_groups
    named = {
        name: groups[name].split_flat_state(part) if name in groups and isinstance(part, Mapping) else part
        for name, part in saved.items()
    }
    return state | {"players": named}


def _run_metadata(config: Config, result: Result) -> dict[str, Any]:
    """Return the description of a run in its checkpoints, from which lost files can be recovered."""
    return {
        migrations.KEY: migrations.FORMAT_VERSION,
        "config": secret_masking.mask_tree(config.raw),
        "identity": result.identity,
        "threads": result.threads,
        "options": dict(config.names),
        "overrides": result.overrides,
        "home": config.working_dir,
        "data_digest": result.data_digest,
        "versions": result.versions,
    }


def load_saved_state(path: Path, *, fall_back: bool) -> dict[str, Any] | None:
    """Load the last state of a run; None if it has none.

    Args:
        path: The run directory.
        fall_back: Whether the previous state may be loaded if the last one is damaged.

    Raises:
        ConfigError: The state is damaged or belongs to another run.
    """
    if not checkpoint.has_checkpoint(path):
        return None
    state = checkpoint.migrate_state(checkpoint.load_newest(path, fall_back=fall_back), path / checkpoint.LAST)
    consistency.check_run(path, state, path / checkpoint.LAST)
    return state


def with_saved_fingerprint(config: Config, state: Mapping[str, Any] | None) -> Config:
    """Return the configuration with the fingerprint of the data that its run was trained on.

    Args:
        config: Configuration of the run.
        state: State or best weights of the run; None for a new run.
    """
    data = state and state["data"]
    return replace(config, fingerprint=data["fingerprint"]) if data else config
