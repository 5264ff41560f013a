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
from trainer.viz.snapshots import Album


@dataclass
class Assembled:
    """What a run trains, with what, and where its snapshots go."""

    trainer: Trainer
    loaders: dict[str, Loader]
    album: Album


def assemble(
    config: Config,
    result: Result,
    screen: run_report.Report,
    state: dict[str, Any] | None,
    train: Callable[[Config, Path], object],
) -> Assembled:
    """The objects of a run, as a state left them if there is one; the result says what they are.

    train: trains another run, the classifier by which rows are compared, if there is to be one.
    """
    settings, path = config.settings, Path(result.folder)
    where = device.pick(settings.device) if state is None else device.pick_again(settings.device)
    torch.set_num_threads(1)
    device.keep_freed_memory()
    data = dataset_loading.read(config) if state is None else dataset_loading.read_again(config, state["data"])
    feature_extractor.attach(config, data, train)
    # After the data: what it imports may draw from the generators, once in a process.
    rng.seed_everything(settings.seed)
    task = factory.task(config.tree, data, config.names).to(where)
    monitor = settings.monitor or task.monitor
    loaders = factory.loaders(config.tree, data, settings, where)
    factory.probe(task, loaders["train"], monitor, settings.precision)
    result.threads = (
        state["about"]["threads"]
        if state
        else settings.threads or device.choose_threads(task, factory.small_batch(loaders["train"]))
    )
    torch.set_num_threads(result.threads)
    result.params = sum(p.numel() for p in task.parameters())
    result.device, result.monitor = str(where), monitor
    result.baseline, result.best_possible = dict(data.facts.baseline), dict(data.facts.best_possible)

    kept = dataset_loading.state_of(config, data)
    keeper = checkpoint.RunKeeper(path, _about(config, result) | {"data": digests.of_parts(kept)}, kept)
    album = Album(screen, path, settings.seed, is_on=settings.draw and not screen.quiet)
    players = factory.players(config.tree, settings, task, loaders["train"])
    trainer = Trainer(task, players, loaders["train"], loaders["val"], settings, keeper, album)
    if state is not None:
        load_state(trainer, state, path)
        if state["data"] and state["data"]["fingerprint"] != kept["fingerprint"] and state["best"]["step"]:
            # What was allowed once is what the run is of: its best weights are scored on it from now on.
            keeper.save_best(consistency.load_best(path))
    sizes = {name: loader.split.size() for name, loader in loaders.items()}
    screen.start(trainer, result, sizes, data.facts.reading, data.facts.baseline_rule)
    return Assembled(trainer, loaders, album)


def load_state(trainer: Trainer, state: dict[str, Any], path: Path) -> None:
    """Raises ConfigError for a state that is none of this trainer, and for best weights of another moment."""
    file = path / checkpoint.LAST
    consistency.check_weights(trainer.task, state, file)
    checkpoint_schema.check_trained(state, trainer, file)
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
    if best is not None and best["step"] > known["step"] and trainer.finished():
        said = f"has weights of step {best['step']}; {file.name} of a run that is over, of step {known['step']}"
        raise ConfigError(f"{path / checkpoint.BEST}: {said}", "one of the two is of another moment")


def _about(config: Config, result: Result) -> dict[str, Any]:
    """What every checkpoint says of its run, so that it is known without the other files."""
    return {
        migrations.KEY: migrations.FORMAT_VERSION,
        "config": secret_masking.mask(config.raw),
        "identity": result.identity,
        "threads": result.threads,
        "options": dict(config.names),
        "overrides": result.overrides,
        "home": config.home,
        "data_digest": result.data_digest,
        "versions": result.versions,
    }


def saved_state(path: Path, *, fall_back: bool) -> dict[str, Any] | None:
    """The newest state of a run, if it has one. Raises ConfigError where it is damaged, or not of this run."""
    if not checkpoint.is_there(path):
        return None
    state = checkpoint.migrated(checkpoint.load_newest(path, fall_back=fall_back), path / checkpoint.LAST)
    consistency.check_run(path, state, path / checkpoint.LAST)
    return state


def as_saved(config: Config, state: Mapping[str, Any] | None) -> Config:
    """The configuration with the fingerprint of the data that its run was trained on."""
    data = state and state["data"]
    return replace(config, fingerprint=data["fingerprint"]) if data else config
