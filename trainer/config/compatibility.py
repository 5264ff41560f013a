"""Compatibility check of a model, a data set and a task, by comparing their ``shapes``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainer.config import introspection
from trainer.config.introspection import Signature
from trainer.core.shapes import Dims, Shapes, find_image_inputs, is_compatible, parse_shapes

DIM_NOUNS = {"B": "row", "N": "node", "E": "edge", "G": "graph", "P": "pair of nodes"}
"""Noun for each leading dimension, for messages."""


def infer_target_dims(task: Shapes, output: Dims) -> Dims | None:
    """Return the dims of the targets that a task compares with a model's output.

    Args:
        task: Shapes of the task, with the model's output as its only input.
        output: Dims of the model's output.

    Returns:
        None if the task has no targets or cannot use such an output.
    """
    (pattern,) = task.inputs.values()
    if task.output is None or not is_compatible(pattern, output):
        return None
    ellipsis_dims = output[len(pattern) - 1 :] if "..." in pattern else ()
    bindings = dict(zip(pattern, output, strict=False))
    return tuple(d for part in task.output for d in (ellipsis_dims if part == "..." else (bindings.get(part, part),)))


def find_incompatibility(model: Signature, data: Signature, task: Signature) -> str | None:
    """Return why a model, a data set and a task are incompatible, or None if they are compatible.

    The message calls them ``model``, ``data`` and ``task``; ``explain_incompatibility`` inserts the names of the
    options.
    """
    model_shapes, data_shapes, task_shapes = (parse_shapes(item.shapes) for item in (model, data, task))
    missing_methods = [name for name in task.required_model_methods if name not in model.parameters_by_method]
    if missing_methods:
        return (
            f"data with task needs {' and '.join(f'{name}()' for name in task.required_model_methods)}, which "
            "model does not have"
        )
    if model_shapes is None or data_shapes is None or task_shapes is None:
        return None
    model_shapes = _expand_inputs(model_shapes, data_shapes)
    unused_inputs = [name for name in task.extra_model_inputs if name not in model_shapes.inputs]
    if unused_inputs:
        return f"data with task hands out {' and '.join(unused_inputs)}, which model does not take"
    entry_parameters = [
        model.parameters_by_method.get(method, {}) for method in (task.required_model_methods[0], "forward")
    ]
    optional = {
        name
        for parameters in entry_parameters
        for name, parameter in parameters.items()
        if parameter.default is not None
    }
    required_inputs = {
        name: dims
        for name, dims in model_shapes.inputs.items()
        if name in data_shapes.inputs or name not in {*optional, *task.extra_model_inputs}
    }
    if not all(
        name in data_shapes.inputs and is_compatible(dims, data_shapes.inputs[name])
        for name, dims in required_inputs.items()
    ):
        return f"model needs {_format_inputs(required_inputs)}; data gives {_format_inputs(data_shapes.inputs)}"
    leading_dims = {dims[0]: data_shapes.inputs[name][0] for name, dims in required_inputs.items()}
    if "lengths" in data_shapes.inputs and "lengths" not in model_shapes.inputs:
        return "the rows of data may differ in length and model takes no lengths: it would read the padding"
    if task_shapes.output is None and set(leading_dims.values()) != {"B"}:
        used_inputs = {name: data_shapes.inputs[name] for name in required_inputs}
        given = _format_inputs(used_inputs)
        return f"model with task needs independent rows (B, ...); data gives {given}"
    if task_shapes.output is None or model_shapes.output is None or len(task_shapes.inputs) != 1:
        return None
    if data_shapes.output is None:
        return "data has no targets, which task needs"
    target = infer_target_dims(task_shapes, model_shapes.output)
    if target is None or ("..." not in data_shapes.output and len(target) != len(data_shapes.output)):
        ours, theirs = _format_dims(model_shapes.output), _format_dims(data_shapes.output)
        return f"model gives {ours}, which task cannot set against the targets {theirs} of data"
    if leading_dims.get(model_shapes.output[0], data_shapes.output[0]) != data_shapes.output[0]:
        ours, theirs = (
            DIM_NOUNS.get(letter, letter) for letter in (leading_dims[model_shapes.output[0]], data_shapes.output[0])
        )
        return (
            f"model gives {_format_dims(model_shapes.output)}, one for each {ours}; data has targets for each {theirs}"
        )
    return None


def find_missing_inputs(augment: str, data: str) -> tuple[str, str] | None:
    """Return the inputs that an augmentation changes and those of the data set, or None if the data set has them all.

    Args:
        augment: Class path of the augmentation.
        data: Class path of the data set.
    """
    augment_shapes, data_shapes = _read_shapes(augment), _read_shapes(data)
    if augment_shapes is None or data_shapes is None:
        return None
    if all(
        name in data_shapes.inputs and is_compatible(dims, data_shapes.inputs[name])
        for name, dims in augment_shapes.inputs.items()
    ):
        return None
    return _format_inputs(augment_shapes.inputs), _format_inputs(data_shapes.inputs)


def has_targets(task: str) -> bool | None:
    """Return whether a task compares targets with its model's output, or None if its ``shapes`` are not known.

    Args:
        task: Class path of the task.
    """
    shapes = _read_shapes(task)
    return None if shapes is None else shapes.output is not None


def infer_target_kind(task: str) -> str | None:
    """Return whether a task learns a ``class`` or a ``number`` for each row.

    The class attribute ``target_kind`` decides, or else the ``shapes``: targets with one dimension less than the
    model's output are classes, targets of the same shape are numbers. A task without targets may pass the class of each
    row to its model.

    Args:
        task: Class path of the task.

    Returns:
        None if the class has neither.
    """
    signature = introspection.read_signature(task)
    shapes = _read_shapes(task)
    if signature is not None and signature.target_kind is not None:
        return signature.target_kind
    if shapes is None:
        return None
    if shapes.output is None:
        return "class"
    (output,) = shapes.inputs.values()
    return "class" if len(output) > len(shapes.output) else "number"


def describe_non_image_inputs(data: str) -> str | None:
    """Return the inputs of a data set, formatted, if none of them is an image (B, C, H, W); otherwise None."""
    shapes = _read_shapes(data)
    return None if shapes is None or find_image_inputs(shapes) else _format_inputs(shapes.inputs)


def _read_shapes(target: str) -> Shapes | None:
    """Return the parsed shapes of a class path, or None if it has none."""
    signature = introspection.read_signature(target)
    return parse_shapes(signature.shapes) if signature else None


def _expand_inputs(model_shapes: Shapes, data_shapes: Shapes) -> Shapes:
    """Replace ``**inputs`` of a model by the inputs of the data, unless one of those has another leading dimension."""
    wildcard_dims = next((dims for name, dims in model_shapes.inputs.items() if name.startswith("**")), None)
    if wildcard_dims is None or any(dims[0] != wildcard_dims[0] for dims in data_shapes.inputs.values()):
        return model_shapes
    return Shapes({name: wildcard_dims for name in data_shapes.inputs if name != "lengths"}, model_shapes.output)


def _format_dims(dims: Dims) -> str:
    return f"({', '.join(dims)})"


def _format_inputs(inputs: Mapping[str, Dims]) -> str:
    return ", ".join(f"{name} {_format_dims(dims)}" for name, dims in inputs.items())


def explain_incompatibility(targets: Mapping[str, str], names: Mapping[str, str]) -> str | None:
    """Return why three classes are incompatible, in terms of the chosen options, or None if they are compatible.

    Args:
        targets: Class paths of ``model``, ``data`` and ``task``.
        names: Names of the options that they were chosen by.
    """
    signatures = {group: introspection.read_signature(targets[group]) for group in ("model", "data", "task")}
    model, data, task = signatures["model"], signatures["data"], signatures["task"]
    if model is None or data is None or task is None:
        return None
    reason = find_incompatibility(model, data, task)
    for group in ("model", "data", "task"):
        reason = reason and re.sub(rf"(?<!the )\b{group}\b", f"{group} {names[group]}", reason)
    return reason
