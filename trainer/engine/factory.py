"""From a checked configuration to objects: data first, whose sizes fill what the model and the task leave open."""

from __future__ import annotations

import importlib
import inspect
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import torch
from torch import nn

from trainer.config import compatibility, plugins
from trainer.config.schema import Settings
from trainer.core.batch import Batch, ScoreAccumulator
from trainer.core.dataset import Dataset
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.core.task import Task
from trainer.core.types import MISSING
from trainer.data.augment.image_augment import Augment
from trainer.engine import optimizer_factory, precision
from trainer.engine.config_errors import add_keys, explain_errors
from trainer.engine.dataloader import Loader
from trainer.engine.metric_loading import load_metrics
from trainer.engine.param_group import ParamGroup
from trainer.engine.trainer import count_total_steps
from trainer.optim.lr_schedules import LRSchedule
from trainer.optim.optimizers import Optimizer
from trainer.optim.param_patterns import freeze_parameters
from trainer.optim.weight_init import initialize_weights
from trainer.utils.errors import ConfigError, SystemFault

EVAL_BATCH_FACTOR = 4
"""How many training batches' rows are scored at once: without gradients there is room for them."""
MAX_CHECKED_STEPS = 1000
"""Steps whose turns are counted one by one, to hold a task's own count against."""
T = TypeVar("T")


def instantiate_node(node: Mapping[str, Any], kind: type[T], **given: Any) -> T:
    """The object a checked configuration node describes; ``given`` comes from the program, not from the user.

    Raises ConfigError when the class is not of the kind its group is for.
    """
    return find_class(node, kind)(**given, **{key: value for key, value in node.items() if key != "_target_"})


def find_class(node: Mapping[str, Any], kind: type[T], *others: type[Any]) -> type[T]:
    """The class that a checked configuration node names; declared plugins are imported.

    Raises ConfigError when it is not of the kind its group is for, nor of the others that this takes.
    """
    plugins.import_plugins()
    module, _, name = node["_target_"].rpartition(".")
    found: type = getattr(importlib.import_module(module), name)
    if not issubclass(found, (kind, *others)):
        raise ConfigError(f"{module}.{name} is not a {kind.__name__}")
    return cast(type[T], found)


def fill_missing_sizes(group: str, node: Mapping[str, Any], data: Dataset, data_name: str) -> dict[str, Any]:
    """The node with every ``???`` replaced by the size of that name.

    Raises ConfigError naming what the data does not publish.
    """
    sizes = {**data.info.sizes, "input_shapes": data.input_shapes()}
    lacking = [key for key, value in node.items() if value == MISSING and key not in sizes]
    if lacking:
        known = ", ".join(sorted(sizes))
        raise ConfigError(
            *(f"{group}.{key}: data {data_name} does not say (it says {known}); set it" for key in lacking)
        )
    return {key: sizes[key] if value == MISSING else value for key, value in node.items()}


def find_dataset_class(config: Mapping[str, Any]) -> type[Dataset]:
    """The class of the data set."""
    return find_class(config["data"], Dataset)


def make_dataset(config: Mapping[str, Any], fitted: Preprocessing | None = None) -> Dataset:
    """The data set alone, its target read as the task needs it. fitted: what a stored run learned of it, by which it is
    encoded; None learns it anew.

    Raises SystemFault for a file or folder that may not be read.
    """
    taken = inspect.signature(find_dataset_class(config).__init__).parameters
    known = {"fitted": fitted, "task_target": compatibility.expected_target_kind(config["task"]["_target_"])}
    given = {key: value for key, value in known.items() if key in taken}
    try:
        with explain_errors(config, "data"):
            return instantiate_node(config["data"], Dataset, **given)
    except PermissionError as error:
        raise SystemFault(f"data: cannot read {error.filename}: {error.strerror}") from error


def make_task(config: Mapping[str, Any], built: Dataset, names: Mapping[str, str]) -> Task:
    """The model on this data, inside its task. ``names`` are the chosen options, for messages.

    Raises ConfigError for what does not fit: sizes, targets, options of one that are at odds.
    """
    if compatibility.has_targets(config["task"]["_target_"]) and not _has_targets(built):
        raise ConfigError(f"data {names['data']} has no targets, which task {names['task']} needs")
    options = fill_missing_sizes("model", config["model"], built, names["data"])
    try:
        model = instantiate_node(options, nn.Module)
    except ValueError as error:
        raise ConfigError(*add_keys(error, "model", options)) from error
    initialize_weights(model, config["init"])
    if config["channels_last"]:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    options = load_metrics("task", fill_missing_sizes("task", config["task"], built, names["data"]))
    try:
        made = instantiate_node(options, Task, model=model)
    except ValueError as error:
        raise ConfigError(f"task: {error}") from error
    made.setup(built)
    made.frozen_norms = tuple(freeze_parameters(made, config["freeze"]))
    for split in SPLITS:
        made.validate_targets(getattr(built, split).get_targets(), split)
    return made


def _has_targets(built: Dataset) -> bool:
    """Whether there is something to predict: a data set may leave that to its options."""
    train = built.train
    return train.get_targets() is not None or train.batch(torch.zeros(1, dtype=torch.long), 0).target is not None


def make_loaders(
    config: Mapping[str, Any], built: Dataset, settings: Settings, device: torch.device
) -> dict[str, Loader]:
    """One loader a split; only training rows are shuffled and augmented."""
    with explain_errors(config, "augment"):
        augment = instantiate_node(config["augment"], Augment, info=built.info)
    return {
        name: Loader(
            getattr(built, name),
            name,
            batch_size=settings.batch_size * (1 if name == "train" else EVAL_BATCH_FACTOR),
            device=device,
            seed=settings.seed,
            train=name == "train",
            augment=augment if name == "train" else None,
            pictures=built.image_inputs(),
            channels_last=settings.channels_last,
            drop_last=settings.drop_last,
            bucket=settings.bucket,
            workers=settings.num_workers,
            timeout=settings.worker_timeout,
        )
        for name in SPLITS
    }


def make_param_groups(
    config: Mapping[str, Any], settings: Settings, task: Task, train: Loader
) -> dict[str, ParamGroup]:
    """An optimizer, a schedule and an average for everyone the task says learns.

    A schedule's length is the number of turns its player will have, counted from the loader, the accumulation and
    the task.
    """
    turns = count_updates(task, count_total_steps(train, settings))
    node, rates = config["optimizer"], task.learning_rates()
    groups = optimizer_factory.flatten_param_groups(task, node.get("groups", ()))
    kind = find_class(node, Optimizer, torch.optim.Optimizer)
    schedule_kind = find_class(config["scheduler"], LRSchedule, torch.optim.lr_scheduler.LRScheduler)
    made = {}
    for name, params in groups.items():
        own = node | ({"lr": rates[name]} if name in rates else {})
        optimizer = optimizer_factory.make_optimizer(kind, own, params)
        usual = node.get("lr", optimizer.lr)
        schedule = optimizer_factory.make_schedule(schedule_kind, config["scheduler"], optimizer, turns[name], usual)
        made[name] = ParamGroup(name, params, optimizer, schedule, settings.ema, alone=len(groups) == 1)
    return made


def count_updates(task: Task, steps: int) -> Counter[str]:
    """How often each player will have its turn.

    Raises ConfigError for a task whose ``count_active_steps`` does not count what its ``turns`` say.
    """
    first = min(steps, MAX_CHECKED_STEPS)
    listed = Counter(name for step in range(first) for name in task.active_groups(step))
    if +Counter(task.count_active_steps(first)) != listed:
        raise ConfigError(
            f"task: {type(task).__name__}.count_active_steps({first}) counts other turns than active_groups() gives"
        )
    return Counter(task.count_active_steps(steps))


def run_sanity_check(task: Task, train: Loader, keys: Mapping[str, Any], half: int | str = 32) -> tuple[str, ...]:
    """Sends a small batch through the task, so that what does not fit is told before the first step.

    ``keys`` are the model's in the configuration, ``half`` is the run's precision. Returns the names of the metrics
    that the task reports. Raises ConfigError in place of the model's own error, and for a precision that a layer does
    not have on this device.
    """
    batch = make_small_batch(train)
    train.load_augmented_rows(batch.index[:2], 0)
    was = torch.get_rng_state()
    task.eval()
    try:
        with torch.no_grad():
            totals = ScoreAccumulator()
            totals.update(task.score(batch))
            scores = task.metrics(totals.compute_totals())
    except (RuntimeError, ValueError, LookupError, TypeError) as error:
        if str(error).partition(":")[0] in keys:
            raise ConfigError(f"model.{error}") from error
        shapes = ", ".join(f"{name} {tuple(value.shape)}" for name, value in batch.inputs.items())
        wanted = ", ".join(str(p).split(":")[0] for p in inspect.signature(task.model.forward).parameters.values())
        reason = str(error).split("\n")[0]
        raise ConfigError(f"model: forward({wanted}) cannot take this data ({shapes}): {reason}") from error
    finally:
        torch.set_rng_state(was)
    if len(batch) == 1:
        _train_on_one_row(task, batch)
    if half != 32:
        _train_in_half_precision(task, batch, half)
    return tuple(scores)


def _train_on_one_row(task: Task, batch: Batch) -> None:
    """Raises ConfigError for a model that cannot train on what it can score: batch norm, on a single number."""
    was, before = torch.get_rng_state(), {name: value.clone() for name, value in task.state_dict().items()}
    task.train()
    try:
        with torch.no_grad():
            for player in task.param_groups():
                task.loss(batch, player)
    except ValueError as error:
        raise ConfigError(f"batch_size: the model cannot train on batches of one row: {error}") from error
    finally:
        task.load_state_dict(before)
        torch.set_rng_state(was)


def _train_in_half_precision(task: Task, batch: Batch, half: int | str) -> None:
    """Raises ConfigError for a model with a layer that cannot be trained in a precision on this device."""
    was, before = torch.get_rng_state(), {name: value.clone() for name, value in task.state_dict().items()}
    device = task.progress.device
    task.train()
    try:
        for player, parameters in task.param_groups().items():
            with precision.autocast_context(device, half):
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


def make_small_batch(train: Loader) -> Batch:
    """A small batch of the training rows as they are."""
    return train.load_rows(torch.arange(min(len(train.split), train.batch_size)))
