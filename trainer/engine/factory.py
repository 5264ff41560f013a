"""Factory functions that build data set, model, task and loaders from a checked configuration.

The data set is built first; its sizes replace the missing values (``???``) of model and task.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import nn

from trainer.config import compatibility, option_keys, plugins
from trainer.config.debug_keys import FAST
from trainer.config.schema import Settings
from trainer.core.dataset import Dataset
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.core.split import Split
from trainer.core.stored_architecture import HasStoredArchitecture
from trainer.core.task import Task
from trainer.core.types import MISSING, is_valid_value
from trainer.data.augment.image_augment import Augment
from trainer.engine import optimizer_factory
from trainer.engine.config_errors import add_keys, explain_errors
from trainer.engine.dataloader import Loader, count_total_steps
from trainer.engine.metric_loading import load_metrics
from trainer.engine.param_group import ParamGroup
from trainer.engine.strategy import SingleDevice, Strategy
from trainer.optim.freeze import freeze_parameters
from trainer.optim.lr_schedules import LRSchedule
from trainer.optim.optimizers import Optimizer
from trainer.optim.weight_init import initialize_weights
from trainer.utils.errors import ConfigError, SystemFault

EVAL_BATCH_FACTOR = 4
"""Size of evaluation batches relative to training batches; without gradients they fit into memory."""
SIZES_OF_ONE_KIND = ("vocab_size", "pixel_bounds")
"""Sizes that only texts or only images have."""
T = TypeVar("T")


def instantiate_node(node: Mapping[str, Any], kind: type[T], **arguments: Any) -> T:
    """Build the object that a checked configuration node describes.

    Args:
        node: The node, with its ``_target_``.
        kind: Base class that the class must have.
        arguments: Further arguments that are not part of the configuration.

    Raises:
        ConfigError: The class is not a subclass of ``kind``.
    """
    return find_class(node, kind)(**arguments, **{key: value for key, value in node.items() if key != "_target_"})


def find_class(node: Mapping[str, Any], kind: type[T], *alternatives: type[Any]) -> type[T]:
    """Import the class that a checked configuration node names, and the declared plugins.

    Args:
        node: The node, with its ``_target_``.
        kind: Base class that the class must have.
        alternatives: Alternative base classes.

    Raises:
        ConfigError: The class is not a subclass of any of them.
    """
    plugins.import_plugins()
    module, _, name = node["_target_"].rpartition(".")
    cls: type = getattr(importlib.import_module(module), name)
    if not issubclass(cls, (kind, *alternatives)):
        raise ConfigError(f"{module}.{name} is not a {kind.__name__}")
    return cast(type[T], cls)


def fill_missing_sizes(group: str, node: Mapping[str, Any], data: Dataset, data_name: str) -> dict[str, Any]:
    """Replace every ``???`` of a node by the size of that name.

    Sizes of another kind of data, such as the vocabulary of images, are None for a model that accepts it.

    Args:
        group: Group of the node, such as ``model``, for messages.
        node: The node.
        data: The data set, whose ``info.sizes`` are used.
        data_name: Name of the data set, for messages.

    Raises:
        ConfigError: The data set does not report a size.
    """
    with torch.device("cpu"):  # where the rows are, also while a model is built without memory
        sizes, bounds = {**data.info.sizes, "input_shapes": data.input_shapes()}, data.pixel_bounds()
    sizes |= {} if bounds is None else {"pixel_bounds": bounds}
    missing = [key for key, value in node.items() if value == MISSING and key not in sizes]
    sizes |= dict.fromkeys(_find_nullable(group, node, missing))
    missing = [key for key in missing if key not in sizes]
    if missing:
        names = ", ".join(sorted(sizes))
        raise ConfigError(
            *(f"{group}.{key}: data {data_name} does not report it (it reports {names}); set it" for key in missing)
        )
    return {key: sizes[key] if value == MISSING else value for key, value in node.items()}


def _find_nullable(group: str, node: Mapping[str, Any], missing: Sequence[str]) -> list[str]:
    """Return the missing sizes of another kind of data for which a model accepts None."""
    candidates = [key for key in missing if key in SIZES_OF_ONE_KIND]
    keys = (option_keys.read_keys(group, node["_target_"]) or {}) if candidates else {}
    return [key for key in candidates if key in keys and is_valid_value(None, keys[key].kind)]


def find_dataset_class(config: Mapping[str, Any]) -> type[Dataset]:
    """Return the class of the data set of a configuration."""
    return find_class(config["data"], Dataset)


def make_dataset(config: Mapping[str, Any], fitted: Preprocessing | None = None) -> Dataset:
    """Build the data set, with the kind of target that the task expects.

    Args:
        config: Checked configuration.
        fitted: Preprocessing of a saved run, which encodes the data; None fits it on the training rows.

    Raises:
        SystemFault: A file or folder is not readable.
    """
    parameters = inspect.signature(find_dataset_class(config).__init__).parameters
    optional_arguments = {"fitted": fitted, "task_target": compatibility.infer_target_kind(config["task"]["_target_"])}
    arguments = {key: value for key, value in optional_arguments.items() if key in parameters}
    try:
        with explain_errors(config, "data"):
            return instantiate_node(config["data"], Dataset, **arguments)
    except PermissionError as error:
        raise SystemFault(f"data: cannot read {error.filename}: {error.strerror}") from error


def make_task(
    config: Mapping[str, Any],
    dataset: Dataset,
    names: Mapping[str, str],
    architecture: Mapping[str, str] | None = None,
) -> Task:
    """Build the model and its task for a data set.

    Args:
        config: Checked configuration.
        dataset: The data set.
        names: Selected option of each group, for messages.
        architecture: Description of the model that a saved run has stored, if any.

    Raises:
        ConfigError: Sizes, targets or options are missing, invalid or incompatible.
    """
    if compatibility.has_targets(config["task"]["_target_"]) and not _has_targets(dataset):
        raise ConfigError(f"data {names['data']} has no targets, which task {names['task']} needs")
    task = instantiate_task(config, dataset, names, architecture)
    task.setup(dataset)
    task.frozen_norms = tuple(freeze_parameters(task, config["freeze"]))
    for split in SPLITS:
        task.validate_targets(getattr(dataset, split).get_targets(), split)
    return task


def instantiate_task(
    config: Mapping[str, Any],
    dataset: Dataset,
    names: Mapping[str, str],
    architecture: Mapping[str, str] | None = None,
) -> Task:
    """Build the model and its task with the sizes of a data set, without its statistics.

    Args:
        config: Checked configuration.
        dataset: The data set.
        names: Selected option of each group, for messages.
        architecture: Description of the model that a saved run has stored, if any.

    Raises:
        ConfigError: Sizes or options are missing or invalid.
    """
    options = fill_missing_sizes("model", config["model"], dataset, names["data"])
    is_stored = issubclass(find_class(options, nn.Module), HasStoredArchitecture)
    if is_stored and config["init"] != "default":
        raise ConfigError(f"init: {config['init']} would replace the weights of a saved model; set init=default")
    try:
        model = instantiate_node(options, nn.Module, **({"stored_architecture": architecture} if is_stored else {}))
    except ValueError as error:
        raise ConfigError(*add_keys(error, "model", options)) from error
    initialize_weights(model, config["init"])
    if config["channels_last"]:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    options = load_metrics("task", fill_missing_sizes("task", config["task"], dataset, names["data"]))
    try:
        return instantiate_node(options, Task, model=model)
    except ValueError as error:
        raise ConfigError(*add_keys(error, "task", options)) from error


def _has_targets(dataset: Dataset) -> bool:
    """Return whether the data set has targets, which may depend on its options."""
    train = dataset.train
    return train.get_targets() is not None or train.batch(torch.zeros(1, dtype=torch.long), 0).target is not None


def make_loaders(
    config: Mapping[str, Any], dataset: Dataset, settings: Settings, device: torch.device
) -> dict[str, Loader]:
    """Build a loader for each split; only training rows are shuffled and augmented.

    Args:
        config: Checked configuration.
        dataset: The data set.
        settings: Global keys of the configuration.
        device: Device of the batches.
    """
    with explain_errors(config, "augment"):
        augment = instantiate_node(config["augment"], Augment, info=dataset.info)
    train = Loader(
        dataset.train,
        "train",
        batch_size=settings.batch_size,
        device=device,
        train=True,
        augment=augment,
        drop_last=settings.drop_last,
        **_loader_options(dataset, settings),
    )
    others = {name: make_eval_loader(dataset, getattr(dataset, name), name, settings, device) for name in SPLITS[1:]}
    for loader in others.values():
        loader.max_batches = 1 if settings.debug == FAST else None
    return {"train": train, **others}


def make_eval_loader(
    dataset: Dataset,
    split: Split,
    name: str,
    settings: Settings,
    device: torch.device,
    batch_size: int | None = None,
    *,
    sort_by_length: bool = False,
) -> Loader:
    """Build a loader of a split in its order, without augmentation.

    Args:
        dataset: Data set that the split belongs to.
        split: The split.
        name: Name of the split, for messages.
        settings: Global keys of the configuration.
        device: Device of the batches.
        batch_size: Rows per batch; None for ``EVAL_BATCH_FACTOR`` times that of training.
        sort_by_length: Sort all rows by length, even if ``bucket`` disables sorting.
    """
    rows = batch_size or settings.batch_size * EVAL_BATCH_FACTOR
    options = _loader_options(dataset, settings) | ({"bucket": len(split)} if sort_by_length else {})
    return Loader(split, name, batch_size=rows, device=device, **options)


def _loader_options(dataset: Dataset, settings: Settings) -> dict[str, Any]:
    return {
        "seed": settings.seed,
        "image_inputs": dataset.image_inputs(),
        "channels_last": settings.channels_last,
        "bucket": settings.bucket,
        "workers": settings.num_workers,
        "timeout": settings.worker_timeout,
    }


def make_param_groups(
    config: Mapping[str, Any], settings: Settings, task: Task, train: Loader, strategy: Strategy[Any] | None = None
) -> dict[str, ParamGroup]:
    """Build the parameter groups of a task, with optimizer, schedule and EMA.

    The length of a schedule is the number of updates of its group, computed from the loader, the accumulation and the
    task.

    Args:
        config: Checked configuration.
        settings: Global keys of the configuration.
        task: The task.
        train: Loader of the training split.
        strategy: How the processes train together; None for one process.
    """
    strategy = strategy or SingleDevice()
    num_updates = optimizer_factory.count_updates(task, count_total_steps(train, settings))
    node, rates = config["optimizer"], task.learning_rates()
    groups = optimizer_factory.flatten_param_groups(task, node.get("groups", ()), strategy.params_class)
    kind = find_class(node, Optimizer, torch.optim.Optimizer)
    schedule_kind = find_class(config["scheduler"], LRSchedule, torch.optim.lr_scheduler.LRScheduler)
    param_groups = {}
    for name, params in groups.items():
        own_node = node | ({"lr": rates[name]} if name in rates else {})
        optimizer = optimizer_factory.make_optimizer(kind, own_node, params, strategy.optimizer_group)
        lr = node.get("lr", optimizer.lr)
        schedule = optimizer_factory.make_schedule(schedule_kind, config["scheduler"], optimizer, num_updates[name], lr)
        param_groups[name] = ParamGroup(name, params, optimizer, schedule, settings.ema, is_only_group=len(groups) == 1)
    return param_groups
