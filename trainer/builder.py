"""From a checked configuration to objects: data first, whose sizes fill what the model and the task leave open."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from trainer import contract, plugins
from trainer.augment import Augment
from trainer.batch import Batch, Totals
from trainer.data.base import Data
from trainer.errors import ConfigError, did_you_mean
from trainer.flat import FlatParameters
from trainer.initial import initialise
from trainer.loader import Loader
from trainer.metrics import direction
from trainer.optim import Optimizer
from trainer.player import Player
from trainer.schedules import Schedule
from trainer.settings import Settings
from trainer.task import Task
from trainer.trainer import total_steps
from trainer.types import MISSING

SCORED_AT_ONCE = 4
"""How many training batches' rows are scored at once: without gradients there is room for them."""
T = TypeVar("T")


def make(node: Mapping[str, Any], kind: type[T], **given: Any) -> T:
    """The object a checked configuration node describes; ``given`` comes from the program, not from the user.

    Raises ConfigError when the class is not of the kind its group is for.
    """
    module, _, name = node["_target_"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    if not issubclass(cls, kind):
        raise ConfigError(f"{module}.{name} is not a {kind.__name__}")
    return cls(**given, **{key: value for key, value in node.items() if key != "_target_"})


def fill(group: str, node: Mapping[str, Any], data: Data, data_name: str) -> dict[str, Any]:
    """The node with every ``???`` replaced by the size of that name.

    Raises ConfigError naming what the data does not publish.
    """
    sizes = {**data.facts.sizes, "input_shapes": data.input_shapes()}
    lacking = [key for key, value in node.items() if value == MISSING and key not in sizes]
    if lacking:
        known = ", ".join(sorted(sizes))
        raise ConfigError(
            *(f"{group}.{key}: data {data_name} does not say (it says {known}); set it" for key in lacking)
        )
    return {key: sizes[key] if value == MISSING else value for key, value in node.items()}


def data(config: Mapping[str, Any]) -> Data:
    """The data set alone."""
    plugins.load()
    return make(config["data"], Data)  # type: ignore[type-abstract]


def task(config: Mapping[str, Any], built: Data, names: Mapping[str, str]) -> Task:
    """The model on this data, inside its task. ``names`` are the chosen options, for messages.

    Raises ConfigError for what does not fit: sizes, targets, options of one that are at odds.
    """
    if contract.wants_targets(config["task"]["_target_"]) and not _has_targets(built):
        raise ConfigError(f"data {names['data']} has no targets, which task {names['task']} needs")
    options = fill("model", config["model"], built, names["data"])
    try:
        model = make(options, nn.Module)
    except ValueError as error:
        raise ConfigError(f"model: {error}") from error
    initialise(model, config["init"])
    if config["channels_last"]:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    made = make(fill("task", config["task"], built, names["data"]), Task, model=model)  # type: ignore[type-abstract]
    made.attach(built)
    for split in ("train", "val", "test"):
        made.check(getattr(built, split).targets(), split)
    return made


def _has_targets(built: Data) -> bool:
    """Whether there is something to predict: a data set may leave that to its options."""
    train = built.train
    return train.targets() is not None or train.batch(torch.zeros(1, dtype=torch.long), 0).target is not None


def loaders(config: Mapping[str, Any], built: Data, settings: Settings, device: torch.device) -> dict[str, Loader]:
    """One loader a split; only training rows are shuffled and augmented."""
    augment = make(config["augment"], Augment, facts=built.facts)
    return {
        name: Loader(
            getattr(built, name),
            name,
            batch_size=settings.batch_size * (1 if name == "train" else SCORED_AT_ONCE),
            device=device,
            seed=settings.seed,
            train=name == "train",
            augment=augment if name == "train" else None,
            pictures=built.pictures(),
            channels_last=settings.channels_last,
            drop_last=settings.drop_last,
            bucket=settings.bucket,
            workers=settings.num_workers,
            timeout=settings.worker_timeout,
        )
        for name in ("train", "val", "test")
    }


def players(config: Mapping[str, Any], settings: Settings, task: Task, train: Loader) -> dict[str, Player]:
    """An optimizer, a schedule and an average for everyone the task says learns.

    A schedule's length is the number of turns its player will have, counted from the loader, the accumulation and
    the task.
    """
    steps = range(total_steps(train, settings))
    turns = [name for step in steps for name in task.turns(step)]
    groups = {name: FlatParameters(parameters) for name, parameters in task.players().items()}
    made, rates = {}, task.rates()
    for name, params in groups.items():
        options = config["optimizer"] | ({"lr": rates[name]} if name in rates else {})
        optimizer = make(options, Optimizer, params=params)  # type: ignore[type-abstract]
        total = turns.count(name)
        schedule = make(config["scheduler"], Schedule, lr=optimizer.lr, total=total)  # type: ignore[type-abstract]
        made[name] = Player(name, params, optimizer, schedule, settings.ema, alone=len(groups) == 1)
    return made


def probe(task: Task, train: Loader, monitor: str | None = None) -> None:
    """Sends a small batch through the task, so that what does not fit is told before the first step.

    Raises ConfigError in place of the model's own error, or for a monitored score that the task does not give.
    """
    batch = small_batch(train)
    train.augmented(batch.index[:2], 0)
    was = torch.get_rng_state()
    task.eval()
    try:
        with torch.no_grad():
            totals = Totals()
            totals.add(task.score(batch))
            scores = task.metrics(totals.reduce())
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in batch.inputs.items())
        wanted = ", ".join(str(p).split(":")[0] for p in inspect.signature(task.model.forward).parameters.values())
        reason = str(error).split("\n")[0]
        raise ConfigError(f"model: forward({wanted}) cannot take this data ({shapes}): {reason}") from error
    finally:
        torch.set_rng_state(was)
    if len(batch) == 1:
        _train_on_one_row(task, batch)
    if monitor is not None and (monitor not in scores or direction(monitor) is None):
        if monitor in task.optional_scores:
            wanted = ",".join([*scores, monitor])
            raise ConfigError(f"monitor: {monitor!r} is measured where task.scores names it: task.scores=[{wanted}]")
        near = did_you_mean(monitor, scores)
        raise ConfigError(f"monitor: {monitor!r} is no score of this task{near or ';'} one of {', '.join(scores)}")


def _train_on_one_row(task: Task, batch: Batch) -> None:
    """Raises ConfigError for a model that cannot train on what it can score: batch norm, on a single number."""
    was, before = torch.get_rng_state(), {name: value.clone() for name, value in task.state_dict().items()}
    task.train()
    try:
        with torch.no_grad():
            for player in task.players():
                task.loss(batch, player)
    except ValueError as error:
        raise ConfigError(f"batch_size: the model cannot train on batches of one row: {error}") from error
    finally:
        task.load_state_dict(before)
        torch.set_rng_state(was)


def small_batch(train: Loader) -> Batch:
    """A small batch of the training rows as they are."""
    return train.rows(torch.arange(min(len(train.split), train.batch_size)))
