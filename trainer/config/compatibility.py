"""Compatibility check of a model, a data set and a task, by comparing their ``shapes``."""

from __future__ import annotations

from collections.abc import Mapping

from trainer.config import introspection
from trainer.config.introspection import Signature
from trainer.core.shapes import Dims, Shapes, find_image_inputs, is_compatible, parse_alternatives, parse_shapes

CORE_GROUPS = ("model", "data", "task")
"""Groups whose options must be compatible with each other."""
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


def find_incompatibility(
    model: Signature, data: Signature, task: Signature, names: Mapping[str, str] | None = None
) -> str | None:
    """Return why a model, a data set and a task are incompatible, or None if they are compatible.

    Args:
        model: Signature of the model.
        data: Signature of the data set.
        task: Signature of the task.
        names: Names of the options for the message, by group.
    """
    labels = {group: f"{group} {names[group]}" if names else group for group in CORE_GROUPS}
    if not (model.has_unknown_methods or {*task.required_model_methods} <= model.parameters_by_method.keys()):
        methods = " and ".join(f"{name}()" for name in task.required_model_methods)
        return f"{labels['data']} with {labels['task']} needs {methods}, which {labels['model']} does not have"
    alternatives = parse_alternatives(model.shapes)
    data_shapes, task_shapes = (parse_shapes(item.shapes) for item in (data, task))
    if not alternatives or data_shapes is None or task_shapes is None:
        return None
    alternatives = tuple(_expand_inputs(shapes, data_shapes) for shapes in alternatives)
    known_inputs = {name for shapes in alternatives for name in shapes.inputs}
    unused_inputs = [name for name in task.extra_model_inputs if name not in known_inputs]
    if unused_inputs:
        inputs = " and ".join(unused_inputs)
        return f"{labels['data']} with {labels['task']} passes {inputs}, which {labels['model']} does not take"
    choices = [(shapes, _find_data_inputs(model, task, shapes, data_shapes)) for shapes in alternatives]
    fitting = [(shapes, inputs) for shapes, inputs in choices if _has_inputs(data_shapes, inputs)]
    if not fitting:
        needed = " or ".join(_format_inputs(inputs) for _, inputs in choices)
        return f"{labels['model']} needs {needed}; {labels['data']} gives {_format_inputs(data_shapes.inputs)}"
    model_shapes, data_inputs = fitting[0]
    if "lengths" in data_shapes.inputs and "lengths" not in model_shapes.inputs:
        return (
            f"the rows of {labels['data']} may differ in length and {labels['model']} takes no lengths: it would read"
            " the padding"
        )
    leading_dims = {dims[0]: data_shapes.inputs[name][0] for name, dims in data_inputs.items()}
    if task_shapes.output is not None:
        return _find_target_mismatch(model_shapes, data_shapes, task_shapes, leading_dims, labels)
    if set(leading_dims.values()) != {"B"}:
        available = _format_inputs({name: data_shapes.inputs[name] for name in data_inputs})
        needed = f"{labels['model']} with {labels['task']} needs independent rows (B, ...)"
        return f"{needed}; {labels['data']} gives {available}"
    return None


def _find_data_inputs(model: Signature, task: Signature, model_shapes: Shapes, data_shapes: Shapes) -> dict[str, Dims]:
    """Return the inputs that a model takes from a data set.

    These are all inputs but those that the task adds and optional ones that the data set does not have.
    """
    methods = (task.required_model_methods[0], "forward")
    parameters = [item for method in methods for item in model.parameters_by_method.get(method, {}).items()]
    optional = {name for name, parameter in parameters if parameter.default is not None}
    return {
        name: dims
        for name, dims in model_shapes.inputs.items()
        if name in data_shapes.inputs or name not in {*optional, *task.extra_model_inputs}
    }


def _find_target_mismatch(
    model: Shapes, data: Shapes, task: Shapes, leading_dims: Mapping[str, str], labels: Mapping[str, str]
) -> str | None:
    """Return why the targets of a data set do not fit the output of a model, or None if they do.

    Args:
        model: Shapes of the model.
        data: Shapes of the data set.
        task: Shapes of the task.
        leading_dims: Leading dimensions of the inputs, from those of the model to those of the data set.
        labels: Names for the message, by group.
    """
    if model.output is None or len(task.inputs) != 1:
        return None
    if data.output is None:
        return f"{labels['data']} has no targets, which {labels['task']} needs"
    output = f"{labels['model']} gives {_format_dims(model.output)}"
    expected = infer_target_dims(task, model.output)
    if expected is None or ("..." not in data.output and len(expected) != len(data.output)):
        targets = _format_dims(data.output)
        return f"{output}, which {labels['task']} cannot compare with the targets {targets} of {labels['data']}"
    output_dim, target_dim = leading_dims.get(model.output[0], data.output[0]), data.output[0]
    if output_dim != target_dim:
        output_noun, target_noun = (DIM_NOUNS.get(dim, dim) for dim in (output_dim, target_dim))
        return f"{output}, one for each {output_noun}; {labels['data']} has targets for each {target_noun}"
    return None


def _has_inputs(data: Shapes, inputs: Mapping[str, Dims]) -> bool:
    """Return whether a data set has some inputs, with compatible dims."""
    return all(name in data.inputs and is_compatible(dims, data.inputs[name]) for name, dims in inputs.items())


def takes_first_alternative(model: str, data: str) -> bool:
    """Return whether a data set has inputs like those of the first of the alternatives that a model takes.

    The keys that the file of a model sets for its data set are meant for these inputs. It is True for a model without
    alternatives, which has the same keys for all of its data sets.

    Args:
        model: Class path of the model.
        data: Class path of the data set.
    """
    signature, data_shapes = introspection.read_signature(model), _read_shapes(data)
    alternatives = parse_alternatives(signature.shapes) if signature else ()
    if len(alternatives) < 2 or data_shapes is None:
        return True
    common = alternatives[0].inputs.keys() & data_shapes.inputs.keys()
    return all(is_compatible(alternatives[0].inputs[name], data_shapes.inputs[name]) for name in common)


def find_missing_inputs(augment: str, data: str) -> tuple[str, str] | None:
    """Return the inputs that an augmentation changes and those of the data set, or None if the data set has them all.

    Args:
        augment: Class path of the augmentation.
        data: Class path of the data set.
    """
    augment_shapes, data_shapes = _read_shapes(augment), _read_shapes(data)
    if augment_shapes is None or data_shapes is None:
        return None
    if _has_inputs(data_shapes, augment_shapes.inputs):
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
    """Return the inputs of a data set, formatted, if none of them is an image (B, C, H, W); otherwise None.

    Args:
        data: Class path of the data set.
    """
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


def explain_incompatibility(targets: Mapping[str, str], names: Mapping[str, str] | None = None) -> str | None:
    """Return why three classes are incompatible, or None if they are compatible.

    Args:
        targets: Class paths of ``model``, ``data`` and ``task``.
        names: Names of their options for the message.
    """
    model, data, task = (introspection.read_signature(targets[group]) for group in CORE_GROUPS)
    if model is None or data is None or task is None:
        return None
    return find_incompatibility(model, data, task, names)
