"""What a resolved configuration is held against: the signatures of the classes it names, and their contracts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any, get_type_hints

from trainer.config import (
    compatibility,
    introspection,
    option_keys,
    plugin_metrics,
    plugins,
    registry,
    torch_classes,
)
from trainer.config.key_owners import describe_key_owner
from trainer.config.migrations import find_renamed_key
from trainer.config.schema import Settings
from trainer.core.types import MISSING, describe_type, is_huge, is_valid_value, list_choices
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import shorten_repr

OBJECT_GROUPS = ("model", "data", "task", "augment", "optimizer", "scheduler")
"""The groups that describe one object each."""
LIST_GROUPS = ("logger", "callbacks")
"""The groups that describe any number of objects, each under a name of its own."""
NO_NAMES = {"model": "", "data": "", "task": ""}
TARGET_PREFIXES: Mapping[str, str | tuple[str, ...]] = {
    "model": "trainer.models.",
    "data": "trainer.data.datasets.",
    "task": "trainer.tasks.",
    "augment": "trainer.data.augment.",
    "optimizer": ("trainer.optim.optimizers.", "trainer.optim.muon."),
    "scheduler": "trainer.optim.lr_schedules.",
    "logger": "trainer.viz.loggers.",
    "callbacks": (),
}
"""Where a group's ``_target_`` may point, besides the user's declared plugins and torch's own optimizers."""


def check_config(tree: Mapping[str, Any], names: Mapping[str, str], folders: Sequence[Path] = ()) -> list[str]:
    """Every problem of a resolved configuration: keys, types, ranges, targets, and what does not go together."""
    faults, conflicts = find_problems(tree, names, folders)
    return faults + conflicts


def find_problems(
    tree: Mapping[str, Any], names: Mapping[str, str], folders: Sequence[Path] = (), unjudged: Set[str] = frozenset()
) -> tuple[list[str], list[str]]:
    """(what is wrong with keys, types, ranges and targets, why what was chosen does not go together).

    ``unjudged`` are groups whose option is not known, about which nothing can be said.
    """
    odd_keys = _find_non_text_keys(tree)
    if odd_keys:
        return odd_keys, []
    kinds = get_type_hints(Settings, include_extras=True)
    problems = [p for key, kind in kinds.items() for p in check_value(key, tree.get(key, MISSING), kind)]
    known_keys = {*kinds, *OBJECT_GROUPS, *LIST_GROUPS}
    problems += [
        f"{key}: unknown key{describe_key_owner(key, names, folders) or did_you_mean(key, known_keys)}"
        for key in tree
        if key not in known_keys
    ]
    judged = [group for group in OBJECT_GROUPS if group not in unjudged]
    absent = [
        f"{group}: must hold the keys of one option" for group in judged if not isinstance(tree.get(group), Mapping)
    ]
    absent = absent or [
        f"{group}._target_: {group} {names.get(group)} names no class; its YAML file needs _target_: module.Class"
        for group in judged
        if not isinstance(tree[group].get("_target_"), str)
    ]
    refused = absent or [problem for group in judged for problem in _check_targets(tree[group], group, is_root=True)]
    if refused:
        return problems + refused, []
    problems += [problem for group in judged for problem in _check_group(group, tree[group], names[group], folders)]
    problems += [problem for group in LIST_GROUPS for problem in _check_list_group(group, tree.get(group), folders)]
    return problems, [] if unjudged else _check_compatibility(tree, names, folders)


def declare_config_plugins(resolved: Mapping[str, Any]) -> list[str]:
    """Makes the named plugins known, or says why they cannot be."""
    named = resolved.get("plugins")
    try:
        plugins.declare_plugins(named if isinstance(named, list) and is_valid_value(named, list[str]) else [])
    except ConfigError as error:
        return list(error.problems)
    return []


def _find_non_text_keys(node: Any, place: str = "") -> list[str]:
    """Keys of a tree that are no texts: YAML reads ``1:``, ``true:`` and ``null:`` as what they are."""
    if isinstance(node, list):
        return [p for index, item in enumerate(node) for p in _find_non_text_keys(item, f"{place}[{index}]")]
    if not isinstance(node, Mapping):
        return []
    odd = [f"{place or 'configuration'}: {key!r} given as a key; keys are text" for key in node if type(key) is not str]
    return odd + [p for key, item in node.items() for p in _find_non_text_keys(item, f"{place}.{key}".lstrip("."))]


def check_value(key: str, value: Any, kind: Any) -> list[str]:
    if kind is introspection.UNCHECKED_TYPE or is_valid_value(value, kind):
        return []
    shown = "no value" if value in ("", MISSING) else shorten_repr(value)
    huge = " below 2^63" if is_huge(value) else ""
    return [f"{key}: {shown} given; it must be {describe_type(kind)}{huge}{_suggest(key, value, kind)}"]


def _suggest(key: str, value: Any, kind: Any) -> str:
    """The nearest choice to an item of a list, or how a text is typed."""
    items, choices = value if isinstance(value, list) else [], list_choices(kind)
    near = (did_you_mean(item, choices) for item in items if isinstance(item, str) and item not in choices)
    return next(filter(None, near), "") or _suggest_quotes(key, value, kind)


def _suggest_quotes(key: str, value: Any, kind: Any) -> str:
    """How a number or a truth value is typed where a text is meant: a column may be called 1.5 or true."""
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return (
        f"; {key}='\"{text}\"' is text" if isinstance(value, bool | int | float) and is_valid_value(text, kind) else ""
    )


def _check_targets(node: Any, place: str, *, is_root: bool = False) -> list[str]:
    """Anything in a tree that asks for code to be run and is not one of our classes or a declared plugin's."""
    if isinstance(node, list):
        return [p for i, item in enumerate(node) for p in _check_targets(item, f"{place}[{i}]")]
    if not isinstance(node, Mapping):
        return []
    problems = [p for key, item in node.items() for p in _check_targets(item, f"{place}.{key}")]
    for key in node:
        if not str(key).startswith("_"):
            continue
        target = str(node[key])
        if key != "_target_" or not is_root:
            problems.append(f"{place}.{key}: not a key train reads")
        elif torch_classes.is_torch_class(target):
            refusal = torch_classes.describe_refusal(place, target)
            problems += [f"{place}._target_: {refusal}"] if refusal else []
        elif not target.startswith(TARGET_PREFIXES[place.split(".")[0]]) and not plugins.is_declared(target):
            module = target.split(".")[0]
            mine = "." in target and module not in {*sys.stdlib_module_names, "trainer"}
            hint = f"; if the module is yours, plugins=[{module}]" if mine else ""
            problems.append(f"{place}._target_: target {target!r} is not on the allow-list{hint}")
    return problems


def _check_list_group(group: str, node: Any, folders: Sequence[Path]) -> list[str]:
    """The problems of a group whose objects have names of their own."""
    example = f"+{group}.NAME._target_=your_module.Class"
    if not isinstance(node, Mapping):
        return [f"{group}: must hold a mapping of names, each with the keys of one class, as {example} adds one"]
    problems = []
    for name, item in node.items():
        if not isinstance(item, Mapping) or not isinstance(item.get("_target_"), str):
            wrong = f"{group}.{name}" if name != "_target_" else group
            problems.append(f"{wrong}: each of the {group} group has a name and a class, as {example} says")
            continue
        refused = _check_targets(item, f"{group}.{name}", is_root=True)
        problems += refused or _check_group(f"{group}.{name}", item, "", folders)
    return problems


def _suggest_key(target: str, key: str, known: Mapping[str, Any]) -> str:
    """Return a clause with the current name of a renamed key, else the nearest key."""
    current = find_renamed_key(target, key)
    return f"; it is called {current} now" if current else did_you_mean(key, known)


def _check_group(group: str, node: Mapping[str, Any], name: str, folders: Sequence[Path]) -> list[str]:
    """The problems of one group against the signature of the class it names."""
    target = str(node.get("_target_"))
    found = introspection.read_signature(target)
    if found is None:
        path = introspection.find_source_file(target)
        near = did_you_mean(target.rpartition(".")[2], introspection.find_classes(path)) if path else ""
        return [f"{group}._target_: there is no class {target}{near}"]
    keys = option_keys.keys_of(group, target, found)
    known = {key: parameter.kind for key, parameter in keys.items()}
    given = {key: value for key, value in node.items() if key != "_target_"}
    problems = [f"{group}.{key}: unknown key{_suggest_key(target, key, known)}" for key in given if key not in known]
    lacking = [key for key in known if keys[key].default is None and key not in given]
    problems += [f"{group}.{key}: {f'{group} {name}' if name else target} needs it" for key in lacking]
    for key, value in given.items():
        # What a data set fills in is a number; text has to come from the user.
        if key not in known or (value == MISSING and group in ("model", "task") and not is_valid_value("", known[key])):
            continue
        if value == MISSING:
            option = registry.list_options(group, folders).get(name)
            meaning = option.get_descriptions().get(key, "") if option else ""
            problems.append(f"{group}.{key}: needs a value{f' ({meaning})' if meaning else ''}")
            continue
        if group == "optimizer" and key == "groups":
            problems += option_keys.find_group_problems(value, name, keys)
            continue
        wrong = check_value(f"{group}.{key}", value, known[key])
        problems += wrong or plugin_metrics.find_metric_problems(f"{group}.{key}", value, known[key])
    return problems


def _check_compatibility(tree: Mapping[str, Any], names: Mapping[str, str], folders: Sequence[Path]) -> list[str]:
    """Why model, data and task do not fit, with the data sets that would."""
    targets = {group: tree[group]["_target_"] for group in ("model", "data", "task")}
    reason = compatibility.explain_incompatibility(targets, names)
    if reason is not None:
        return [f"{reason}. {_compatible_datasets(targets, names, folders)}"]
    unseen = compatibility.missing_inputs(tree["augment"]["_target_"], targets["data"])
    if unseen is not None:
        return [f"augment: {names['augment']} changes {unseen[0]}; data {names['data']} gives {unseen[1]}"]
    if tree["channels_last"] and (given := compatibility.non_image_inputs(targets["data"])):
        return [f"channels_last: lays out pictures (B, C, H, W); data {names['data']} gives {given}"]
    return []


def find_compatible_model(data: str, folders: Sequence[Path] = ()) -> str | None:
    """The first model that goes with a data set and the task it chooses; None where none is known to."""
    tasks, known = registry.list_options("task", folders), registry.list_options("data", folders)
    option = known.get(data)
    if option is None or option.class_path is None:
        return None
    for name, model in registry.list_options("model", folders).items():
        task = tasks[model.task_name or option.task_name or "classification"].class_path
        if model.class_path is None or task is None or model.keys_set_in("data"):
            continue
        if (
            compatibility.explain_incompatibility(
                {"model": model.class_path, "data": option.class_path, "task": task}, NO_NAMES
            )
            is None
        ):
            return name
    return None


def _compatible_datasets(targets: Mapping[str, str], names: Mapping[str, str], folders: Sequence[Path]) -> str:
    """The data sets that a model goes with: each with its own task, or all with the one that was asked for instead."""
    model = registry.list_options("model", folders).get(names["model"])
    known = registry.list_options("data", folders)
    tasks = {name: option.class_path for name, option in registry.list_options("task", folders).items()}

    def usual(data: registry.ConfigOption | None) -> str:
        return (model and model.task_name) or (data and data.task_name) or "classification"

    is_forced = names["task"] != usual(known.get(names["data"]))
    good = []
    needed = model.keys_set_in("data") if model else set()
    for option in known.values():
        task = targets["task"] if is_forced else tasks.get(usual(option))
        found = introspection.read_signature(option.class_path) if option.class_path else None
        if option.class_path and found and task and needed <= found.init_types.keys():
            trial = {"model": targets["model"], "data": option.class_path, "task": task}
            if compatibility.explain_incompatibility(trial, NO_NAMES) is None:
                good.append(option.name)
    with_task = f" with task {names['task']}" if is_forced else ""
    return f"{names['model']}{with_task} works with: {', '.join(good) or 'no data set here'}"
