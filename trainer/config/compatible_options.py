"""Compatibility of the chosen options, and the options that would be compatible instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from trainer.config import compatibility, introspection, registry
from trainer.config.registry import ConfigOption

DEFAULT_TASK = "classification"
"""Task of a model and a data set that choose none."""
BLOCKS_METHOD = "repeated_blocks"
"""Method of a ``BlockModel``, by which its class is recognized without importing it."""


def check_compatibility(tree: Mapping[str, Any], names: Mapping[str, str], config_dirs: Sequence[Path]) -> list[str]:
    """Return the problem of options that are incompatible; for a model, with the data sets that would fit.

    Args:
        tree: Resolved configuration without other problems.
        names: Chosen option of each group.
        config_dirs: Directories with YAML files of the user.

    Returns:
        A list that is empty or contains one problem.
    """
    targets = {group: tree[group]["_target_"] for group in compatibility.CORE_GROUPS}
    model = registry.list_options("model", config_dirs).get(names["model"])
    reason = compatibility.explain_incompatibility(targets, names)
    missing_keys = _find_missing_keys(model, targets["data"])
    if reason is None and missing_keys:
        keys = " and ".join(f"data.{key}" for key in missing_keys)
        reason = f"model {names['model']} sets {keys}, which data {names['data']} does not have"
    if reason is not None:
        return [f"{reason}. {_list_compatible_datasets(targets, names, config_dirs)}"]
    mismatch = compatibility.find_missing_inputs(tree["augment"]["_target_"], targets["data"])
    if mismatch is not None:
        return [f"augment: {names['augment']} changes {mismatch[0]}; data {names['data']} gives {mismatch[1]}"]
    if tree["channels_last"] and (inputs := compatibility.describe_non_image_inputs(targets["data"])):
        return [f"channels_last: only for images (B, C, H, W); data {names['data']} gives {inputs}"]
    key = "checkpoint_activations" if tree.get("checkpoint_activations") else "strategy"
    if (tree.get(key) in (True, "fsdp")) and not _has_blocks(targets["model"]):
        options = registry.list_options("model", config_dirs).values()
        others = [option.name for option in options if option.class_path and _has_blocks(option.class_path)]
        return [f"{key}: model {names['model']} has no repeated blocks; these have: {', '.join(others)}"]
    return []


def _has_blocks(model: str) -> bool:
    """Return whether a class of models names its repeated blocks, or may do so in source that cannot be read."""
    signature = introspection.read_signature(model)
    return signature is None or signature.has_unknown_methods or BLOCKS_METHOD in signature.parameters_by_method


def find_compatible_model(data: str, config_dirs: Sequence[Path] = ()) -> str | None:
    """Return the first model that is compatible with a data set and its default task, or None if there is none.

    Args:
        data: Name of the data set.
        config_dirs: Directories with YAML files of the user.
    """
    tasks, datasets = registry.list_options("task", config_dirs), registry.list_options("data", config_dirs)
    dataset = datasets.get(data)
    if dataset is None or dataset.class_path is None:
        return None
    for name, model in registry.list_options("model", config_dirs).items():
        task = tasks[_get_default_task(model, dataset)].class_path
        if model.class_path is None or task is None or model.keys_set_in("data"):
            continue
        targets = {"model": model.class_path, "data": dataset.class_path, "task": task}
        if compatibility.explain_incompatibility(targets) is None:
            return name
    return None


def _get_default_task(model: ConfigOption | None, dataset: ConfigOption | None) -> str:
    """Return the task of a model and a data set if none is chosen; the model takes precedence."""
    return (model and model.task_name) or (dataset and dataset.task_name) or DEFAULT_TASK


def _list_compatible_datasets(targets: Mapping[str, str], names: Mapping[str, str], config_dirs: Sequence[Path]) -> str:
    """Return a sentence that lists the data sets which are compatible with a model.

    Each is checked with its default task, or all with the chosen task if that is not the default one.
    """
    model = registry.list_options("model", config_dirs).get(names["model"])
    datasets = registry.list_options("data", config_dirs)
    tasks = {name: option.class_path for name, option in registry.list_options("task", config_dirs).items()}
    has_other_task = names["task"] != _get_default_task(model, datasets.get(names["data"]))
    compatible = []
    for dataset in datasets.values():
        task = targets["task"] if has_other_task else tasks.get(_get_default_task(model, dataset))
        if dataset.class_path and task and not _find_missing_keys(model, dataset.class_path):
            candidate = {"model": targets["model"], "data": dataset.class_path, "task": task}
            if compatibility.explain_incompatibility(candidate) is None:
                compatible.append(dataset.name)
    with_task = f" with task {names['task']}" if has_other_task else ""
    return f"{names['model']}{with_task} works with: {', '.join(compatible) or 'no data set here'}"


def _find_missing_keys(model: ConfigOption | None, data: str) -> list[str]:
    """Return the keys that the file of a model sets for its data set and that a class of data sets does not have.

    The keys are meant for the first of the alternatives of inputs that a model takes.
    """
    keys = model.keys_set_in("data") if model else set()
    signature = introspection.read_signature(data) if keys else None
    if model is None or signature is None or signature.has_unknown_keys:
        return []
    missing = sorted(keys - signature.init_types.keys())
    return missing if compatibility.takes_first_alternative(model.class_path or "", data) else []
