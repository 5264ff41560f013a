"""The keys of an option: the parameters of the class that it names, and what its group adds to them."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from trainer.config import introspection, torch_classes
from trainer.config.introspection import Parameter, Signature
from trainer.core.types import MISSING, NonNegativeFloat, NonNegativeInt, PositiveFloat, is_valid_value
from trainer.core.types import describe_type as describe
from trainer.utils.suggest import did_you_mean

INJECTED_ARGS: Mapping[str, set[str]] = {
    "data": {"fitted", "task_target"},
    "task": {"model"},
    "augment": {"info"},
    "optimizer": {"params", "foreach", "fused", "capturable", "differentiable", "maximize"},
    "scheduler": {"lr", "total", "optimizer", "last_epoch"},
}
"""Parameters that come from the program and not from the configuration."""
_INJECTED_BY_CLASS = {
    "torch.optim.lr_scheduler.ReduceLROnPlateau": {"mode"},  # whether a higher score is better is known of each score
    "torch.optim.lr_scheduler.CyclicLR": {"scale_fn"},  # a function
}
"""And of some classes."""
ENTRY_KEYS: Mapping[str, Any] = {
    "match": str | list[str],
    "lr_scale": PositiveFloat,
    "weight_decay": NonNegativeFloat,
}
"""Keys of an entry of ``optimizer.groups``."""
_ENTRY_OPTIONS = " or ".join([*ENTRY_KEYS][1:])


def read_keys(group: str, target: str) -> dict[str, Parameter] | None:
    """The keys of an option of a group, with type and default; None where the source has no such class."""
    signature = introspection.read_signature(target)
    return None if signature is None else get_keys(group, target, signature)


def get_keys(group: str, target: str, signature: Signature) -> dict[str, Parameter]:
    """The keys of an option whose class is read."""
    parameters = signature.parameters_by_method.get("__init__", {})
    injected = INJECTED_ARGS.get(group, set()) | _INJECTED_BY_CLASS.get(target, set())
    keys = {key: parameter for key, parameter in parameters.items() if key not in injected}
    if torch_classes.is_torch_class(target):
        kinds = torch_classes.narrow_types({key: parameter.kind for key, parameter in keys.items()})
        keys = {key: Parameter(kind, _allow_null(kind, keys[key].default)) for key, kind in kinds.items()}
    if group == "optimizer":
        keys["groups"] = Parameter(list[dict[str, object]], "[]")
    if group == "scheduler" and "optimizer" in parameters:
        keys["warmup"] = Parameter(NonNegativeInt, "0")
    return keys


def _allow_null(kind: Any, default: str | None) -> str | None:
    """The default of a parameter: null where it may be and must otherwise be given."""
    return "None" if default is None and is_valid_value(None, kind) else default


def read_defaults(group: str, target: str) -> dict[str, Any]:
    """A node of an option that names a class: its keys with their defaults, ``???`` where there is none."""
    defaults: dict[str, Any] = {}
    for key, parameter in (read_keys(group, target) or {}).items():
        try:
            value = MISSING if parameter.default is None else ast.literal_eval(parameter.default)
        except ValueError:  # no literal: what the class takes by itself
            continue
        defaults[key] = list(value) if isinstance(value, tuple) else value
    return defaults


def find_group_problems(value: Any, name: str, keys: Mapping[str, Parameter]) -> list[str]:
    """What is wrong with ``optimizer.groups`` of an optimizer that has some keys.

    Args:
        value: As it is given.
        name: The optimizer that was chosen.
        keys: Those that it has.
    """
    if not isinstance(value, list | tuple):
        return ['optimizer.groups: it must be a list, as in [{match: "trunk.*", lr_scale: 0.1}]']
    problems = []
    for index, entry in enumerate(value):
        path = f"optimizer.groups[{index}]"
        if not isinstance(entry, Mapping):
            problems.append(f"{path}: {entry!r} given; it must be a mapping with match and {_ENTRY_OPTIONS}")
            continue
        problems += _find_entry_problems(entry, path, name, keys)
    return problems


def _find_entry_problems(entry: Mapping[str, Any], path: str, name: str, keys: Mapping[str, Parameter]) -> list[str]:
    unknown_keys = [str(key) for key in entry if key not in ENTRY_KEYS]
    problems = [f"{path}.{key}: unknown key{did_you_mean(key, ENTRY_KEYS)}" for key in unknown_keys]
    problems += [
        f"{path}.{key}: {entry[key]!r} given; it must be {describe(kind)}"
        for key, kind in ENTRY_KEYS.items()
        if key in entry and not is_valid_value(entry[key], kind)
    ]
    if "weight_decay" in entry and "weight_decay" not in keys:
        problems.append(f"{path}.weight_decay: optimizer {name} has no weight_decay")
    if not entry.get("match"):
        problems.append(f'{path}.match: it names the parameters of the group, as in match: "trunk.*"')
    if len(entry.keys() & ENTRY_KEYS.keys()) == 1 and not problems:
        problems.append(f"{path}: it changes nothing; give it {_ENTRY_OPTIONS}")
    return problems
