"""Parameters whose shape depends on a size of the data set, such as those of the output head on the classes.

No list of names or kinds of layers is needed: the model is built once more with other sizes, and the parameters whose
shape changes depend on them. Class embeddings of a conditional generator are found like an output layer.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from trainer.core import rng
from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import Dataset
from trainer.core.types import MISSING
from trainer.engine import factory

CLASS_SIZES = ("num_classes", "out_features")
"""Sizes that depend on the number of classes."""


def find_resized_parameters(
    config: Mapping[str, Any], data: Dataset, names: Mapping[str, str], sizes: Collection[str]
) -> set[str]:
    """Return the names of the parameters and buffers of a task whose shape depends on sizes of the data set.

    Args:
        config: Checked configuration.
        data: The data set.
        names: Selected option of each group, for messages.
        sizes: Names of the sizes.
    """
    if not sizes:
        return set()
    resized = copy.copy(data)
    resized.info = replace(data.info, sizes=_change_sizes(data.info.sizes, sizes))
    with rng.preserve_generators():
        shapes, changed_shapes = (
            {name: value.shape for name, value in factory.instantiate_task(tree, each, names).state_dict().items()}
            for tree, each in ((config, data), (_leave_open(config, data.info.sizes, sizes), resized))
        )
    return {name for name in shapes if shapes[name] != changed_shapes.get(name)}


def _change_sizes(sizes: Mapping[str, Any], changed: Collection[str]) -> dict[str, Any]:
    """Return other values of some sizes; those that depend on the classes stay consistent."""
    others = {key: sizes[key] + 1 for key in changed if key in sizes}
    if "num_classes" in others:
        others |= {key: value for key, value in class_sizes(others["num_classes"]).items() if key in others}
    return {**sizes, **others}


def _leave_open(config: Mapping[str, Any], sizes: Mapping[str, Any], changed: Collection[str]) -> dict[str, Any]:
    """Return a configuration in which the data set fills these sizes, also where their value was written out."""

    def open_sizes(node: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: MISSING if key in changed and key in sizes and value == sizes[key] else value
            for key, value in node.items()
        }

    return {**config, "model": open_sizes(config["model"]), "task": open_sizes(config["task"])}
