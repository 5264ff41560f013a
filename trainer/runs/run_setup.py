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
from trainer.engine import checkpoint, checkpoint_schema, dataset_loading, device, factory
from trainer.engine.dataloader import Loader
from trainer.engine.trainer import Trainer
from trainer.runs import consistency, feature_extractor, run_report
from trainer.runs.results import Result
from trainer.utils import digests
from trainer.utils.errors import ConfigError
from trainer.viz.snapshots import SampleSnapshots


@dataclass
class RunComponents:
    """What a run trains, with what, and where its snapshots go."""

    trainer: Trainer
    loaders: dict[str, Loader]
    snapshots: SampleSnapshots


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
    monitor = settings.monitor or task.monitor
    loaders = factory.make_loaders(config.tree, data, settings, where)
    factory.run_sanity_check(task, loaders["train"], config.tree["model"], monitor, settings.precision)
    result.threads = (
        state["about"]["threads"]
        if state
        else settings.threads or device.choose_threads(task, factory.make_small_batch(loaders["train"]))
    )
    torch.set_num_threads(result.threads)
    result.params = sum(p.numel() for p in task.parameters())
    result.device, result.monitor = str(where), monitor
    result.baseline, result.best_possible = dict(data.info.baseline), dict(data.info.best_possible)

    kept = dataset_loading.get_dataset_state(config, data)
    keeper = checkpoint.CheckpointManager(
        path, _run_metadata(config, result) | {"data": digests.digest_parts(kept)}, kept
    )
    album = SampleSnapshots(screen, path, settings.seed, is_on=settings.draw and not screen.quiet)
    players = factory.make_param_groups(config.tree, settings, task, loaders["train"])
    trainer = Trainer(task, players, loaders["train"], loaders["val"], settings, keeper, album)
    if state is not None:
        load_trainer_state(trainer, state, path)
        if state["data"] and state["data"]["fingerprint"] != kept["fingerprint"] and state["best"]["step"]:
            # What was allowed once is what the run is of: its best weights are scored on it from now on.
            keeper.save_best(consistency.load_best(path))
    sizes = {name: loader.split.count_examples() for name, loader in loaders.items()}
    screen.announce_start(trainer, result, sizes, data.info.column_summaries, data.info.baseline_rule)
    return RunComponents(trainer, loaders, album)


def load_trainer_state(trainer: Trainer, state: dict[str, Any], path: Path) -> None:
    """Raises ConfigError for a state that is none of this trainer, and for best weights of another moment."""
    file = path / checkpoint.LAST
    consistency.check_weights(trainer.task, state, file)
    checkpoint_schema.check_trained_state(state, trainer, file)
    best, known = None, state["best"]
    if known["step"]:
        best = consistency.load_best(path)
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
