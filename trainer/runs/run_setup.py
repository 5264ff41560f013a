"""Builds the objects of a run from its configuration, and from its last state if it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from trainer.config import migrations, secret_masking
from trainer.config.compose import Config
from trainer.core import rng
from trainer.core.metric import Metric
from trainer.engine import checkpoint, checkpoint_schema, dataset_loading, device, factory, renamed_state
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.dataloader import Loader
from trainer.engine.early_stopping import EarlyStopping
from trainer.engine.monitor import collect_directions, select_monitor
from trainer.engine.signal_stop import SignalStop
from trainer.engine.trainer import Trainer
from trainer.runs import consistency, feature_extractor, run_callbacks, run_report
from trainer.runs.results import Result
from trainer.utils import digests
from trainer.utils.errors import ConfigError
from trainer.viz.loggers.logger import Logger
from trainer.viz.snapshots import SampleSnapshots


@dataclass
class RunComponents:
    """What a run trains, with what, and where its snapshots, checkpoints and metrics go."""

    trainer: Trainer
    loaders: dict[str, Loader]
    snapshots: SampleSnapshots
    checkpoints: checkpoint.CheckpointManager
    loggers: list[Logger]


def build_components(
    config: Config,
    result: Result,
    screen: run_report.RunReporter,
    state: dict[str, Any] | None,
    train: Callable[[Config, Path], object],
) -> RunComponents:
    """The objects of a run, as a state left them if there is one; the result says what they are.

    train: trains another run, the classifier by which rows are compared, if there is to be one.
    """
    settings, path = config.settings, Path(result.folder)
    loggers, mine = run_callbacks.make_loggers(config, path), run_callbacks.make_user_callbacks(config)
    where = device.select_device(settings.device) if state is None else device.select_available_device(settings.device)
    torch.set_num_threads(1)
    device.keep_freed_memory()
    data = (
        dataset_loading.load_dataset(config) if state is None else dataset_loading.reload_dataset(config, state["data"])
    )
    feature_extractor.attach_feature_extractor(config, data, train)
    # After the data: what it imports may draw from the generators, once in a process.
    rng.seed_everything(settings.seed)
    task = factory.make_task(config.tree, data, config.names).to(where)
    loaders = factory.make_loaders(config.tree, data, settings, where)
    reported = factory.run_sanity_check(task, loaders["train"], config.tree["model"], settings.precision)
    monitor = select_monitor(task, settings.monitor, reported)
    result.threads = (
        state["about"]["threads"]
        if state
        else settings.threads or device.choose_threads(task, factory.make_small_batch(loaders["train"]))
    )
    torch.set_num_threads(result.threads)
    result.params = sum(p.numel() for p in task.parameters())
    result.device, result.monitor = str(where), monitor.name
    result.higher_is_better = collect_directions(task, reported)
    result.baseline, result.best_possible = dict(data.info.baseline), dict(data.info.best_possible)

    kept = dataset_loading.get_dataset_state(config, data)
    keeper = checkpoint.CheckpointManager(
        path, _run_metadata(config, result) | {"data": digests.digest_parts(kept)}, kept
    )
    album = SampleSnapshots(path, settings.seed, is_on=settings.draw and not screen.quiet)
    saving = CheckpointCallback(keeper, settings.save_every)
    stopping = [] if settings.patience is None else [EarlyStopping(settings.patience)]
    # States are saved after whatever has one, and a signal is answered when all have seen the step.
    callbacks: list[Callback] = [*loggers, screen, album, *mine, *stopping, saving, SignalStop(screen.flag)]
    players = factory.make_param_groups(config.tree, settings, task, loaders["train"])
    trainer = Trainer(task, players, loaders["train"], loaders["val"], settings, callbacks)
    if state is not None:
        load_trainer_state(trainer, state, path)
        if state["data"] and state["data"]["fingerprint"] != kept["fingerprint"] and state["best"]["step"]:
            # What was allowed once is what the run is of: its best weights are scored on it from now on.
            keeper.save_best(consistency.load_best(path))
    sizes = {name: loader.split.count_examples() for name, loader in loaders.items()}
    screen.announce_start(trainer, result, sizes, data.info.column_summaries, data.info.baseline_rule)
    return RunComponents(trainer, loaders, album, keeper, loggers)


def load_trainer_state(trainer: Trainer, state: dict[str, Any], path: Path) -> None:
    """Raises ConfigError for a state that is none of this trainer, and for best weights of another moment."""
    file = path / checkpoint.LAST
    state = renamed_state.rename_parameters(state, trainer.task)
    consistency.check_weights(trainer.task, state, file)
    state = name_state_vectors(trainer, state)
    checkpoint_schema.check_trained_state(state, trainer, file)
    best, known = None, state["best"]
    _check_direction(trainer.monitor_metric, known)
    if known["step"]:
        best = renamed_state.rename_parameters(consistency.load_best(path), trainer.task)
        consistency.check_weights(trainer.task, best, path / checkpoint.BEST)
        checkpoint_schema.check_best(best, state, path / checkpoint.BEST)
        if best["step"] > known["step"]:
            # Killed between the two files of one save: the weights that had the best score known here are gone. The
            # next validation takes their place, and the later best is found anew where it was, to the same bits.
            state = state | {"best": known | {"score": None, "finer": None}}
    trainer.load_state_dict(state, best)
    if best is not None and best["step"] > known["step"] and trainer.is_finished():
        said = f"has weights of step {best['step']}; {file.name} of a run that is over, of step {known['step']}"
        raise ConfigError(f"{path / checkpoint.BEST}: {said}", "one of the two is of another moment")


def _check_direction(metric: Metric, best: Mapping[str, Any]) -> None:
    """Raises ConfigError where the monitored metric was declared with the other direction when the run began."""
    higher = metric.higher_is_better
    if best.get("higher_is_better", higher) != higher:
        raise ConfigError(
            f"monitor: {metric.name} is declared with higher_is_better={higher}; when the run began it was"
            f" {not higher}, by which its best weights were chosen: resume it with that"
        )


def name_state_vectors(trainer: Trainer, state: dict[str, Any]) -> dict[str, Any]:
    """A state whose optimizers keep what they know by parameter, also one of before checkpoint version 3."""
    saved = state["players"]
    if not isinstance(saved, Mapping):
        return state
    groups = trainer.param_groups
    named = {
        name: groups[name].name_vectors(part) if name in groups and isinstance(part, Mapping) else part
        for name, part in saved.items()
    }
    return state | {"players": named}


def _run_metadata(config: Config, result: Result) -> dict[str, Any]:
    """What every checkpoint says of its run, so that it is known without the other files."""
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
    """The newest state of a run, if it has one. Raises ConfigError where it is damaged, or not of this run."""
    if not checkpoint.has_checkpoint(path):
        return None
    state = checkpoint.migrate_state(checkpoint.load_newest(path, fall_back=fall_back), path / checkpoint.LAST)
    consistency.check_run(path, state, path / checkpoint.LAST)
    return state


def with_saved_fingerprint(config: Config, state: Mapping[str, Any] | None) -> Config:
    """The configuration with the fingerprint of the data that its run was trained on."""
    data = state and state["data"]
    return replace(config, fingerprint=data["fingerprint"]) if data else config
