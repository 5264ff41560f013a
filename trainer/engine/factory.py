"""From a checked configuration to objects: data first, whose sizes fill what the model and the task leave open."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

from trainer.config import compatibility, plugins
from trainer.config.schema import Settings
from trainer.core.batch import Batch, Totals
from trainer.core.dataset import Data
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.core.task import Task
from trainer.core.types import MISSING
from trainer.core.weight_matrices import decayed
from trainer.data.augment.image_augment import Augment
from trainer.engine import precision
from trainer.engine.dataloader import Loader
from trainer.engine.param_group import Player
from trainer.engine.trainer import total_steps
from trainer.metrics.metrics import direction
from trainer.optim.flat_params import FlatParameters
from trainer.optim.lr_schedules import Schedule
from trainer.optim.optimizers import Optimizer
from trainer.optim.weight_init import initialise
from trainer.utils.errors import ConfigError, SystemFault, did_you_mean

SCORED_AT_ONCE = 4
"""How many training batches' rows are scored at once: without gradients there is room for them."""
COUNTED = 1000
"""Steps whose turns are counted one by one, to hold a task's own count against."""
T = TypeVar("T")


def make(node: Mapping[str, Any], kind: type[T], **given: Any) -> T:
    """The object a checked configuration node describes; ``given`` comes from the program, not from the user.

    Raises ConfigError when the class is not of the kind its group is for.
    """
    return find_class(node, kind)(**given, **{key: value for key, value in node.items() if key != "_target_"})


def find_class(node: Mapping[str, Any], kind: type[T]) -> type[T]:
    """The class that a checked configuration node names; declared plugins are imported.

    Raises ConfigError when it is not of the kind its group is for.
    """
    plugins.load()
    module, _, name = node["_target_"].rpartition(".")
    found = getattr(importlib.import_module(module), name)
    if not issubclass(found, kind):
        raise ConfigError(f"{module}.{name} is not a {kind.__name__}")
    return found  # type: ignore[no-any-return]


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


def data_class(config: Mapping[str, Any]) -> type[Data]:
    """The class of the data set."""
    return find_class(config["data"], Data)  # type: ignore[type-abstract]


def data(config: Mapping[str, Any], fitted: Preprocessing | None = None) -> Data:
    """The data set alone. fitted: what a stored run learned of it, by which it is encoded; None learns it anew.

    Raises SystemFault for a file or folder that may not be read.
    """
    takes_fitted = "fitted" in inspect.signature(data_class(config).__init__).parameters
    try:
        return make(config["data"], Data, **({"fitted": fitted} if takes_fitted else {}))  # type: ignore[type-abstract]
    except PermissionError as error:
        raise SystemFault(f"data: cannot read {error.filename}: {error.strerror}") from error


def task(config: Mapping[str, Any], built: Data, names: Mapping[str, str]) -> Task:
    """The model on this data, inside its task. ``names`` are the chosen options, for messages.

    Raises ConfigError for what does not fit: sizes, targets, options of one that are at odds.
    """
    if compatibility.wants_targets(config["task"]["_target_"]) and not _has_targets(built):
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
    for split in SPLITS:
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
        for name in SPLITS
    }


def players(config: Mapping[str, Any], settings: Settings, task: Task, train: Loader) -> dict[str, Player]:
    """An optimizer, a schedule and an average for everyone the task says learns.

    A schedule's length is the number of turns its player will have, counted from the loader, the accumulation and
    the task.
    """
    turns = count_turns(task, total_steps(train, settings))
    shrink = decayed(task)
    groups = {name: FlatParameters(parameters, shrink) for name, parameters in task.players().items()}
    made, rates = {}, task.rates()
    for name, params in groups.items():
        options = config["optimizer"] | ({"lr": rates[name]} if name in rates else {})
        optimizer = make(options, Optimizer, params=params)  # type: ignore[type-abstract]
        options = config["scheduler"]
        schedule = make(options, Schedule, lr=optimizer.lr, total=turns[name])  # type: ignore[type-abstract]
        made[name] = Player(name, params, optimizer, schedule, settings.ema, alone=len(groups) == 1)
    return made


def count_turns(task: Task, steps: int) -> Counter[str]:
    """How often each player will have its turn.

    Raises ConfigError for a task whose ``turns_before`` does not count what its ``turns`` say.
    """
    first = min(steps, COUNTED)
    listed = Counter(name for step in range(first) for name in task.turns(step))
    if +Counter(task.turns_before(first)) != listed:
        raise ConfigError(f"task: {type(task).__name__}.turns_before({first}) counts other turns than turns() gives")
    return Counter(task.turns_before(steps))


def probe(task: Task, train: Loader, monitor: str | None = None, half: int | str = 32) -> None:
    """Sends a small batch through the task, so that what does not fit is told before the first step.

    ``half`` is the run's precision. Raises ConfigError in place of the model's own error, for a precision that a layer
    does not have on this device, or for a monitored score that the task does not give.
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
    if half != 32:
        _train_in_half(task, batch, half)
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


def _train_in_half(task: Task, batch: Batch, half: int | str) -> None:
    """Raises ConfigError for a model with a layer that cannot be trained in a precision on this device."""
    was, before = torch.get_rng_state(), {name: value.clone() for name, value in task.state_dict().items()}
    device = task.progress.device
    task.train()
    try:
        for player, parameters in task.players().items():
            with precision.autocast(device, half):
                loss = task.loss(batch, player)
            learning = [parameter for parameter in parameters if parameter.requires_grad]
            torch.autograd.grad(loss, learning, allow_unused=True)
    except RuntimeError as error:
        reason = str(error).split(". ")[0].splitlines()[0]
        raise ConfigError(
            f"precision: {type(task.model).__name__} cannot be trained in {half} on {device.type} ({reason}); use"
            " precision=32, or another device"
        ) from error
    finally:
        task.load_state_dict(before)
        torch.set_rng_state(was)


def small_batch(train: Loader) -> Batch:
    """A small batch of the training rows as they are."""
    return train.rows(torch.arange(min(len(train.split), train.batch_size)))
