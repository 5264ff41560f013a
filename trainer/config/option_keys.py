"""Keys of an option: the parameters of its class, and the keys that its group adds."""

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
    "model": {"stored_architecture"},
    "task": {"model"},
    "augment": {"info"},
    "optimizer": {"params", "foreach", "fused", "capturable", "differentiable", "maximize"},
    "scheduler": {"lr", "total", "optimizer", "last_epoch"},
}
"""Parameters that are set by the program instead of the configuration, by group."""
_INJECTED_BY_CLASS = {
    "torch.optim.lr_scheduler.ReduceLROnPlateau": {"mode"},  # follows from the direction of the monitored score
    "torch.optim.lr_scheduler.CyclicLR": {"scale_fn"},  # a function
}
"""The same for individual classes."""
ENTRY_KEYS: Mapping[str, Any] = {
    "match": str | list[str],
    "lr_scale": PositiveFloat,
    "weight_decay": NonNegativeFloat,
}
"""Keys of an entry of ``optimizer.groups``."""
_ENTRY_OPTIONS = " or ".join([*ENTRY_KEYS][1:])


def read_keys(group: str, target: str) -> dict[str, Parameter] | None:
    """Return the keys of an option with their types and defaults.

    Args:
        group: Group of the option.
        target: Class path.

    Returns:
        None if the class does not exist.
    """
    signature = introspection.read_signature(target)
    return None if signature is None else get_keys(group, target, signature)


def get_keys(group: str, target: str, signature: Signature) -> dict[str, Parameter]:
    """Return the keys of an option whose signature is known.

    Args:
        group: Group of the option.
        target: Class path.
        signature: Signature of that class.
    """
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
    """Return the default of a parameter: null for a required parameter whose type allows it."""
    return "None" if default is None and is_valid_value(None, kind) else default


def read_defaults(group: str, target: str) -> dict[str, Any]:
    """Return the keys of an option with the values of their defaults, or ``???`` for required ones.

    Args:
        group: Group of the option.
        target: Class path.

    Returns:
        Keys whose default is not a literal are left out; the class uses that default itself.
    """
    defaults: dict[str, Any] = {}
    for key, parameter in (read_keys(group, target) or {}).items():
        try:
            value = MISSING if parameter.default is None else ast.literal_eval(parameter.default)
        except ValueError:  # not a literal
            continue
        defaults[key] = list(value) if isinstance(value, tuple) else value
    return defaults


def find_group_problems(value: Any, name: str, keys: Mapping[str, Parameter]) -> list[str]:
    """Return the problems of ``optimizer.groups``.

    Args:
        value: Value of the key.
        name: Name of the chosen optimizer.
        keys: Keys of that optimizer.
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
        problems.append(f'{path}.match: it must select the parameters of the group, as in match: "trunk.*"')
    if len(entry.keys() & ENTRY_KEYS.keys()) == 1 and not problems:
        problems.append(f"{path}: it changes nothing; set {_ENTRY_OPTIONS}")
    return problems
