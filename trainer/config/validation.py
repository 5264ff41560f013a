"""Validation of a resolved configuration against the signatures and shapes of the classes that it names."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, get_type_hints

from trainer.config import (
    introspection,
    option_keys,
    plugin_metrics,
    plugins,
    registry,
    torch_classes,
)
from trainer.config.annotations import UNCHECKED_TYPE
from trainer.config.compatible_options import check_compatibility
from trainer.config.key_owners import describe_key_owner, list_related_keys
from trainer.config.migrations import find_renamed_key
from trainer.config.registry import LIST_GROUPS, OBJECT_GROUPS
from trainer.config.schema import Settings
from trainer.core.types import MISSING, describe_type, is_huge, is_valid_value, list_choices
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean, format_suggestion
from trainer.utils.text import shorten_repr

TARGET_PREFIXES: Mapping[str, str | tuple[str, ...]] = {
    "model": "trainer.models.",
    "data": "trainer.data.datasets.",
    "task": "trainer.tasks.",
    "augment": "trainer.data.augment.",
    "optimizer": ("trainer.optim.optimizers.", "trainer.optim.muon."),
    "scheduler": ("trainer.optim.lr_schedules.", "trainer.optim.stable_schedules."),
    "logger": "trainer.viz.loggers.",
    "callbacks": (),
}
"""Allowed prefixes of ``_target_``; declared plugins and the optimizers and schedulers of torch are allowed too."""


def check_config(tree: Mapping[str, Any], names: Mapping[str, str], config_dirs: Sequence[Path] = ()) -> list[str]:
    """Return every problem of a resolved configuration: keys, types, ranges, targets and incompatible options.

    Args:
        tree: Configuration with all interpolations resolved.
        names: Chosen option of each group.
        config_dirs: Directories with YAML files of the user.
    """
    problems, conflicts = find_problems(tree, names, config_dirs)
    return problems + conflicts


def find_problems(
    tree: Mapping[str, Any],
    names: Mapping[str, str],
    config_dirs: Sequence[Path] = (),
    unchecked_groups: Set[str] = frozenset(),
) -> tuple[list[str], list[str]]:
    """Return the problems of a resolved configuration.

    Args:
        tree: Configuration with all interpolations resolved.
        names: Chosen option of each group.
        config_dirs: Directories with YAML files of the user.
        unchecked_groups: Groups to skip because the chosen option does not exist.

    Returns:
        ``(problems, conflicts)``: problems of keys, types, ranges and targets; incompatible options.
    """
    non_string_keys = _find_non_string_keys(tree)
    if non_string_keys:
        return non_string_keys, []
    kinds = get_type_hints(Settings, include_extras=True)
    problems = [p for key, kind in kinds.items() for p in check_value(key, tree.get(key, MISSING), kind)]
    known_keys = {*kinds, *OBJECT_GROUPS, *LIST_GROUPS}
    unknown_keys = [key for key in tree if key not in known_keys]
    for key in unknown_keys:
        hint = describe_key_owner(key, names, config_dirs) or did_you_mean(key, known_keys)
        problems.append(f"{key}: unknown key{hint or format_suggestion(list_related_keys(key))}")
    checked_groups = [group for group in OBJECT_GROUPS if group not in unchecked_groups]
    missing = [
        f"{group}: must contain the keys of one option"
        for group in checked_groups
        if not isinstance(tree.get(group), Mapping)
    ]
    missing = missing or [
        f"{group}._target_: {group} {names.get(group)} names no class; its YAML file needs _target_: module.Class"
        for group in checked_groups
        if not isinstance(tree[group].get("_target_"), str)
    ]
    target_problems = missing or [
        problem for group in checked_groups for problem in _check_targets(tree[group], group, is_root=True)
    ]
    if target_problems:
        return problems + target_problems, []
    problems += [
        problem for group in checked_groups for problem in _check_group(group, tree[group], names[group], config_dirs)
    ]
    problems += [problem for group in LIST_GROUPS for problem in _check_list_group(group, tree.get(group), config_dirs)]
    return problems, [] if unchecked_groups else check_compatibility(tree, names, config_dirs)


def declare_config_plugins(resolved: Mapping[str, Any]) -> list[str]:
    """Declare the plugins of a configuration and return the problems.

    Args:
        resolved: Configuration, or a part of it that contains ``plugins``.
    """
    names = resolved.get("plugins")
    try:
        plugins.declare_plugins(names if isinstance(names, list) and is_valid_value(names, list[str]) else [])
    except ConfigError as error:
        return list(error.problems)
    return []


def _find_non_string_keys(node: Any, path: str = "") -> list[str]:
    """Return a problem for each key that is not a string, such as ``1:``, ``true:`` and ``null:`` in YAML."""
    if isinstance(node, list):
        return [p for index, item in enumerate(node) for p in _find_non_string_keys(item, f"{path}[{index}]")]
    if not isinstance(node, Mapping):
        return []
    problems = [
        f"{path or 'configuration'}: {key!r} given as a key; keys are text" for key in node if type(key) is not str
    ]
    return problems + [
        p for key, item in node.items() for p in _find_non_string_keys(item, f"{path}.{key}".lstrip("."))
    ]


def check_value(key: str, value: Any, kind: Any) -> list[str]:
    """Return the problem of a value that does not have the type of its key.

    Args:
        key: Dotted key, for the message.
        value: Value of the key.
        kind: Expected type, with its range.

    Returns:
        A list that is empty or contains one problem.
    """
    if kind is UNCHECKED_TYPE or is_valid_value(value, kind):
        return []
    text = "no value" if value in ("", MISSING) else shorten_repr(value)
    bound = " below 2^63" if is_huge(value) else ""
    return [f"{key}: {text} given; it must be {describe_type(kind)}{bound}{_suggest(key, value, kind)}"]


def _suggest(key: str, value: Any, kind: Any) -> str:
    """Return a hint for an invalid value: the nearest choice for an item of a list, brackets or quotes."""
    if isinstance(value, str) and re.fullmatch(r"[\w.+-]+", value) and is_valid_value([value], kind):
        return f": {key}=[{value}]"
    items, choices = value if isinstance(value, list) else [], list_choices(kind)
    suggestions = (did_you_mean(item, choices) for item in items if isinstance(item, str) and item not in choices)
    return next(filter(None, suggestions), "") or _suggest_quotes(key, value, kind)


def _suggest_quotes(key: str, value: Any, kind: Any) -> str:
    """Return how to quote a number or boolean that should be a string: a column may be called 1.5 or true."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return (
        f"; {key}='\"{text}\"' is text" if isinstance(value, bool | int | float) and is_valid_value(text, kind) else ""
    )


def _check_targets(node: Any, path: str, *, is_root: bool = False) -> list[str]:
    """Return a problem for each ``_target_`` that is not allowed, and for other keys that begin with ``_``.

    Args:
        node: Part of the configuration.
        path: Its dotted key.
        is_root: Whether ``_target_`` may be a key of the node itself; nested ones are not allowed.
    """
    if isinstance(node, list):
        return [p for i, item in enumerate(node) for p in _check_targets(item, f"{path}[{i}]")]
    if not isinstance(node, Mapping):
        return []
    problems = [p for key, item in node.items() for p in _check_targets(item, f"{path}.{key}")]
    for key in node:
        if not str(key).startswith("_"):
            continue
        target = str(node[key])
        if key != "_target_" or not is_root:
            problems.append(f"{path}.{key}: train does not read this key")
        elif torch_classes.is_torch_class(target):
            reason = torch_classes.describe_unsupported_class(path, target)
            problems += [f"{path}._target_: {reason}"] if reason else []
        elif not target.startswith(TARGET_PREFIXES[path.split(".")[0]]) and not plugins.is_declared(target):
            module = target.split(".")[0]
            is_user_module = "." in target and module not in {*sys.stdlib_module_names, "trainer"}
            hint = f"; if the module is yours, plugins=[{module}]" if is_user_module else ""
            problems.append(f"{path}._target_: target {target!r} is not on the allow-list{hint}")
    return problems


def _check_list_group(group: str, node: Any, config_dirs: Sequence[Path]) -> list[str]:
    """Return the problems of a list group."""
    example = f"+{group}.NAME._target_=your_module.Class"
    if not isinstance(node, Mapping):
        return [f"{group}: must be a mapping of names, each with the keys of one class, as in {example}"]
    problems = []
    for name, item in node.items():
        if not isinstance(item, Mapping) or not isinstance(item.get("_target_"), str):
            key = f"{group}.{name}" if name != "_target_" else group
            problems.append(f"{key}: each entry of {group} needs a name and a class, as in {example}")
            continue
        target_problems = _check_targets(item, f"{group}.{name}", is_root=True)
        problems += target_problems or _check_group(f"{group}.{name}", item, "", config_dirs)
    return problems


def _suggest_key(target: str, key: str, known_keys: Mapping[str, Any]) -> str:
    """Return a clause with the current name of a renamed key, else the nearest key."""
    current = find_renamed_key(target, key)
    return f"; it is called {current} now" if current else did_you_mean(key, known_keys)


def _check_group(group: str, node: Mapping[str, Any], name: str, config_dirs: Sequence[Path]) -> list[str]:
    """Return the problems of a group, or an entry of a list group, compared with the signature of its class."""
    target = str(node.get("_target_"))
    signature = introspection.read_signature(target)
    if signature is None:
        file = introspection.find_source_file(target)
        suggestion = did_you_mean(target.rpartition(".")[2], introspection.find_classes(file)) if file else ""
        return [f"{group}._target_: there is no class {target}{suggestion}"]
    keys = option_keys.get_keys(group, target, signature)
    kinds = {key: parameter.kind for key, parameter in keys.items()}
    values = {key: value for key, value in node.items() if key != "_target_"}
    unknown_keys = [] if signature.has_unknown_keys else [key for key in values if key not in kinds]
    problems = [f"{group}.{key}: unknown key{_suggest_key(target, key, kinds)}" for key in unknown_keys]
    missing = [key for key in kinds if keys[key].default is None and key not in values]
    problems += [f"{group}.{key}: {f'{group} {name}' if name else target} needs it" for key in missing]
    for key, value in values.items():
        # The data set fills in missing numbers of the model and task; strings must come from the user.
        if key not in kinds or (value == MISSING and group in ("model", "task") and not is_valid_value("", kinds[key])):
            continue
        if value == MISSING:
            option = registry.list_options(group, config_dirs).get(name)
            description = option.get_descriptions().get(key, "") if option else ""
            problems.append(f"{group}.{key}: needs a value{f' ({description})' if description else ''}")
        elif group == "optimizer" and key == "groups":
            problems += option_keys.find_group_problems(value, name, keys)
        else:
            path, kind = f"{group}.{key}", kinds[key]
            problems += check_value(path, value, kind) or plugin_metrics.find_metric_problems(path, value, kind)
    return problems
