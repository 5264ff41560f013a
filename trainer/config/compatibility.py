"""Whether a model, a data set and a task go together, judged by their ``shapes``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainer.config import introspection
from trainer.config.introspection import Signature
from trainer.core.shapes import Dims, Shapes, find_image_inputs, is_compatible, parse_shapes

DIM_NOUNS = {"B": "row", "N": "node", "E": "edge", "G": "graph", "P": "pair of nodes"}
"""What a first letter counts."""


def expected_target(task: Shapes, output: Dims) -> Dims | None:
    """The target dims a task sets against a model's output; None where it takes no target or cannot use the output."""
    (pattern,) = task.inputs.values()
    if task.output is None or not is_compatible(pattern, output):
        return None
    rest = output[len(pattern) - 1 :] if "..." in pattern else ()
    named = dict(zip(pattern, output, strict=False))
    return tuple(d for part in task.output for d in (rest if part == "..." else (named.get(part, part),)))


def incompatibility(model: Signature, data: Signature, task: Signature) -> str | None:
    """Why the three do not go together, in words that follow "model X needs"; None if they do."""
    takes, gives, learns = parse_shapes(model.shapes), parse_shapes(data.shapes), parse_shapes(task.shapes)
    lacking = [name for name in task.required_model_methods if name not in model.parameters_by_method]
    if lacking:
        return (
            f"data with task needs {' and '.join(f'{name}()' for name in task.required_model_methods)}, which "
            "model does not have"
        )
    if takes is None or gives is None or learns is None:
        return None
    takes = _expand_inputs(takes, gives)
    ignored = [name for name in task.extra_model_inputs if name not in takes.inputs]
    if ignored:
        return f"data with task hands out {' and '.join(ignored)}, which model does not take"
    entries = [model.parameters_by_method.get(method, {}) for method in (task.required_model_methods[0], "forward")]
    optional = {name for entry in entries for name, parameter in entry.items() if parameter.default is not None}
    needed = {
        name: dims
        for name, dims in takes.inputs.items()
        if name in gives.inputs or name not in {*optional, *task.extra_model_inputs}
    }
    if not all(name in gives.inputs and is_compatible(dims, gives.inputs[name]) for name, dims in needed.items()):
        return f"model needs {_format_inputs(needed)}; data gives {_format_inputs(gives.inputs)}"
    counted = {dims[0]: gives.inputs[name][0] for name, dims in needed.items()}
    if "lengths" in gives.inputs and "lengths" not in takes.inputs:
        return "the rows of data may differ in length and model takes no lengths: it would read the padding"
    if learns.output is None and set(counted.values()) != {"B"}:
        seen = {name: gives.inputs[name] for name in needed}
        return f"model with task learns from rows (B, ...) that stand for themselves; data gives {_format_inputs(seen)}"
    if learns.output is None or takes.output is None or len(learns.inputs) != 1:
        return None
    if gives.output is None:
        return "data has no targets, which task needs"
    target = expected_target(learns, takes.output)
    if target is None or ("..." not in gives.output and len(target) != len(gives.output)):
        ours, theirs = _format_dims(takes.output), _format_dims(gives.output)
        return f"model gives {ours}, which task cannot set against the targets {theirs} of data"
    if counted.get(takes.output[0], gives.output[0]) != gives.output[0]:
        ours, theirs = (DIM_NOUNS.get(letter, letter) for letter in (counted[takes.output[0]], gives.output[0]))
        return f"model gives {_format_dims(takes.output)}, one for each {ours}; data has targets for each {theirs}"
    return None


def missing_inputs(changer: str, data: str) -> tuple[str, str] | None:
    """What the inputs a class changes are and what a data set gives instead; None if all are there."""
    changes, gives = _read_shapes(changer), _read_shapes(data)
    if changes is None or gives is None:
        return None
    if all(name in gives.inputs and is_compatible(dims, gives.inputs[name]) for name, dims in changes.inputs.items()):
        return None
    return _format_inputs(changes.inputs), _format_inputs(gives.inputs)


def has_targets(task: str) -> bool | None:
    """Whether a task, a dotted class name, sets targets against what its model gives; None if it does not say."""
    learns = _read_shapes(task)
    return None if learns is None else learns.output is not None


def expected_target_kind(task: str) -> str | None:
    """Return whether a task learns a ``class`` or a ``number`` for each row.

    It is what the class states as ``target_kind``, or else what its ``shapes`` say: targets with a dimension less than
    the model's output are classes, targets of its shape are numbers. A task without targets may hand the class of each
    row to its model.

    Args:
        task: The path of the class.

    Returns:
        None if neither says it.
    """
    found = introspection.read_signature(task)
    learns = _read_shapes(task)
    if found is not None and found.target_kind is not None:
        return found.target_kind
    if learns is None:
        return None
    if learns.output is None:
        return "class"
    (predicted,) = learns.inputs.values()
    return "class" if len(predicted) > len(learns.output) else "number"


def non_image_inputs(data: str) -> str | None:
    """What a data set gives if none of it is pictures (B, C, H, W); None if some is."""
    gives = _read_shapes(data)
    return None if gives is None or find_image_inputs(gives) else _format_inputs(gives.inputs)


def _read_shapes(target: str) -> Shapes | None:
    """The contract of a dotted class name; None if it has none."""
    found = introspection.read_signature(target)
    return parse_shapes(found.shapes) if found else None


def _expand_inputs(takes: Shapes, gives: Shapes) -> Shapes:
    """What a model takes of this data, ``**inputs`` by their names there unless one of them is not in rows."""
    wild = next((dims for name, dims in takes.inputs.items() if name.startswith("**")), None)
    if wild is None or any(dims[0] != wild[0] for dims in gives.inputs.values()):
        return takes
    return Shapes({name: wild for name in gives.inputs if name != "lengths"}, takes.output)


def _format_dims(dims: Dims) -> str:
    return f"({', '.join(dims)})"


def _format_inputs(inputs: Mapping[str, Dims]) -> str:
    return ", ".join(f"{name} {_format_dims(dims)}" for name, dims in inputs.items())


def explain_incompatibility(targets: Mapping[str, str], names: Mapping[str, str]) -> str | None:
    """The misfit of three dotted class names in the words of the chosen options; None if they fit."""
    found = {group: introspection.read_signature(targets[group]) for group in ("model", "data", "task")}
    model, data, task = found["model"], found["data"], found["task"]
    if model is None or data is None or task is None:
        return None
    reason = incompatibility(model, data, task)
    for group in ("model", "data", "task"):
        reason = reason and re.sub(rf"(?<!the )\b{group}\b", f"{group} {names[group]}", reason)
    return reason
