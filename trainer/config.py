"""The configuration: composed by Hydra, checked by us, all problems told at once and before torch is imported.

Hydra merges the YAML files; its own messages never reach the user, because "use +model.hiden=8" teaches people to
write keys that nothing reads.
"""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from trainer import catalog, contract, plugins, signature
from trainer.errors import ConfigError, UnknownName, did_you_mean
from trainer.settings import Settings
from trainer.types import describe, fits

BUILT = ("model", "data", "task", "optimizer", "scheduler")
"""The groups that describe one object each."""
GIVEN = {"task": {"model"}, "optimizer": {"params"}, "scheduler": {"lr", "total"}}
"""Parameters that come from the program and not from the configuration."""
OURS = ("trainer.models.", "trainer.data.", "trainer.tasks.", "trainer.optim.", "trainer.schedules.")
"""Where a ``_target_`` may point, besides the user's declared plugins."""
MISSING = "???"
NEUTRAL = {
    "resume",
    "debug",
    "verbose",
    "device",
    "threads",
    "num_workers",
    "worker_timeout",
    "save_every",
    "data_dir",
    "jobs",
}
"""Keys that do not change what is trained, so that runs that differ in them alone are the same run."""
HYDRA_KEYS = ("hydra.run.dir", "hydra.sweep.", "hydra.launcher.", "hydra.sweeper.", "hydra.searchpath")


@dataclass(frozen=True)
class Config:
    """A composed and checked configuration.

    tree: plain values, every interpolation resolved. raw: the same with values from the environment left as
    ``${oc.env:...}``, which is what is written to disk. names: the chosen option of each group. folder: where the run
    should go; sweep_folder: where a sweep it belongs to should.
    """

    tree: Mapping[str, Any]
    raw: Mapping[str, Any]
    names: Mapping[str, str]
    overrides: Sequence[str]
    folder: str
    sweep_folder: str
    settings: Settings = field(repr=False)

    @property
    def identity(self) -> str:
        """A hash of everything that decides what is trained."""
        kept = {key: value for key, value in self.tree.items() if key not in NEUTRAL}
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]


def compose(overrides: Sequence[str] = (), folders: Sequence[Path] = ()) -> Config:
    """The configuration that a command line describes.

    Raises ConfigError with every problem found.
    """
    parsed = parse(overrides)
    groups = catalog.groups(folders) | {"hydra/launcher", "hydra/sweeper"}
    chosen = [item for item in parsed if item.key_or_group in groups]
    values = [item for item in parsed if item.key_or_group not in groups]
    wrong = {item.key_or_group: problem for item in chosen if (problem := _wrong_option(item, folders))}
    problems = [problem for item in parsed for problem in _wrong_use(item)]
    unknown: list[str] = []
    usable = [item for item in chosen if item.key_or_group not in wrong]
    composed = _base(tuple(item.input_line or "" for item in usable), tuple(folders))
    # What belongs to an option that does not exist cannot be judged; everything else still is.
    for item in values:
        if item.key_or_group.split(".")[0] not in wrong and not _wrong_use(item):
            unknown += _assign(composed, item)
    written, resolved, unresolved = _plain(composed)
    names = {group: str(name) for group, name in composed.hydra.runtime.choices.items() if group in BUILT}
    problems += unresolved
    if not unresolved:
        plugins.declare(resolved["plugins"] if isinstance(resolved["plugins"], list) else [])
        problems += [p for p in check(resolved, names, folders) if not (wrong and p.startswith(tuple(wrong)))]
    if wrong or unknown:
        raise UnknownName(*wrong.values(), *unknown, *dict.fromkeys(problems))
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return _config(composed, written, resolved, overrides)


def from_hydra(composed: DictConfig) -> Config:
    """The checked configuration of a job that one of Hydra's other sweepers composed.

    Raises ConfigError with every problem.
    """
    current = HydraConfig.get()
    whole = composed.copy()
    with open_dict(whole):
        whole.hydra = current
    written, resolved, problems = _plain(whole)
    names = {group: str(name) for group, name in current.runtime.choices.items() if group in BUILT}
    plugins.declare(resolved["plugins"])
    problems += check(resolved, names)
    if problems:
        raise ConfigError(*problems)
    return _config(whole, written, resolved, list(current.overrides.task))


def _config(
    composed: DictConfig, written: dict[str, Any], resolved: dict[str, Any], overrides: Sequence[str]
) -> Config:
    HydraConfig.instance().set_config(composed)
    hydra = composed.hydra
    names = {group: str(name) for group, name in hydra.runtime.choices.items() if group in BUILT}
    flat = {key: resolved[key] for key in get_type_hints(Settings)}
    folders = str(hydra.run.dir), str(hydra.sweep.dir)
    return Config(resolved, written, names, list(overrides), *folders, Settings(**flat))


def parse(overrides: Sequence[str]) -> list[Override]:
    """The overrides by Hydra's grammar.

    Raises ConfigError showing where a text stops being one.
    """
    parser = OverridesParser.create()
    found, problems = [], []
    for text in overrides:
        try:
            found.append(parser.parse_override(text))
        except HydraException as error:
            reason = str(error.__cause__ or error).splitlines()[0]
            where = re.search(r"at input '(.*)'", reason)
            column = max(text.find(where.group(1)), 0) + len(where.group(1)) - 1 if where else len(text)
            problems.append(
                f"cannot read {text!r} as KEY=VALUE ({reason}); quote special characters: 'key=\"[a\"'\n"
                f"  {text}\n  {' ' * column}^"
            )
    if problems:
        raise ConfigError(*problems)
    return found


def _wrong_use(item: Override) -> list[str]:
    """Overrides that Hydra would take and that would then do nothing, or not what was meant."""
    key = item.key_or_group
    if item.is_sweep_override():
        return [f"{item.input_line}: several values make a sweep; run train -m {item.input_line}"]
    if item.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
        return [f"{key}: unknown key; + adds keys that nothing reads"]
    if item.type == OverrideType.DEL:
        return [f"{key}: ~ would leave something out that the program reads; set it to null or choose another option"]
    if key.split(".")[0].split("/")[0] == "hydra" and not key.startswith((*HYDRA_KEYS, "hydra/")):
        return [f"{key}: of Hydra's own keys, train reads {', '.join(k.rstrip('.') for k in HYDRA_KEYS)}"]
    return []


def _wrong_option(item: Override, folders: Sequence[Path]) -> str | None:
    """Why a group has no such option, with the nearest and all there are."""
    group, name = item.key_or_group, item.value()
    known = catalog.options(group, folders)
    if group.startswith("hydra/") or name in known or (group == "experiment" and name is None) or _wrong_use(item):
        return None
    shown = "null" if name is None else str(name)
    return f"{group} {shown!r} not found{did_you_mean(shown, known) or ';'} choices: {', '.join(known) or 'none yet'}"


_composed: dict[tuple[tuple[str, ...], tuple[Path, ...]], DictConfig] = {}


def _base(chosen: tuple[str, ...], folders: tuple[Path, ...]) -> DictConfig:
    """The YAML files merged for a choice of options, before any single value is set."""
    key = (chosen, folders)
    if key not in _composed:
        places = ",".join(f"file://{folder.absolute()}" for folder in folders)
        search = [f"hydra.searchpath=[{places}]"] if folders else []
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(catalog.builtin().absolute()), version_base="1.3", job_name="train"):
                _composed[key] = hydra_compose("train", overrides=[*chosen, *search], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException) as error:
            raise ConfigError(f"the YAML files do not compose: {str(error).splitlines()[0]}") from error
    return deepcopy(_composed[key])


def _assign(composed: DictConfig, item: Override) -> list[str]:
    """Sets one value, or says why it cannot be set."""
    key = item.key_or_group
    node: Any = composed
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return [f"{key}: {'.'.join(parts[:depth])} is a value and has no key {part}"]
        if part not in list(node):
            return [f"{key}: unknown key{_meant(composed, parts[:depth], part)}"]
        node = node._get_node(part)
    with open_dict(composed):
        OmegaConf.update(composed, key, item.value(), merge=False)
    return []


def _meant(composed: DictConfig, above: Sequence[str], part: str) -> str:
    """The key a misspelt one was probably meant to be: among its neighbours, else anywhere."""
    here = OmegaConf.select(composed, ".".join(above)) if above else composed
    prefix = "".join(f"{name}." for name in above)
    near = did_you_mean(part, [str(k) for k in here if k != "hydra" and not str(k).startswith("_")])
    if near:
        return near.replace("mean ", f"mean {prefix}")
    deep = {str(k): f"{g}.{k}" for g in BUILT for k in composed[g] if not str(k).startswith("_")}
    guess = did_you_mean(part, deep)
    for name, full in deep.items():
        guess = guess.replace(f"mean {name}?", f"mean {full}?")
    return guess


def _plain(composed: DictConfig) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Plain containers: as written (secrets unresolved), and resolved."""
    own = OmegaConf.masked_copy(composed, [str(k) for k in composed if k != "hydra"])
    problems: list[str] = []
    try:
        resolved = OmegaConf.to_container(own, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        problems = [f"{error.full_key}: {str(error).splitlines()[0]}"]
        resolved = OmegaConf.to_container(own, resolve=False)
    assert isinstance(resolved, dict)
    written = OmegaConf.to_container(own, resolve=False)
    return _keep_environment(written, resolved), resolved, problems  # type: ignore[return-value]


def _keep_environment(written: Any, resolved: Any) -> Any:
    """The resolved values, except those that came from the environment: they may be secrets."""
    if isinstance(written, dict) and isinstance(resolved, dict):
        return {key: _keep_environment(written[key], resolved[key]) for key in resolved}
    return written if isinstance(written, str) and "${oc.env:" in written else resolved


def check(tree: Mapping[str, Any], names: Mapping[str, str], folders: Sequence[Path] = ()) -> list[str]:
    """Every problem of a resolved configuration: keys, types, ranges, targets, and what does not go together."""
    kinds = get_type_hints(Settings, include_extras=True)
    problems = [p for key, kind in kinds.items() for p in _value(key, tree.get(key, MISSING), kind)]
    known_keys = {*kinds, *BUILT}
    problems += [f"{key}: unknown key{did_you_mean(key, known_keys)}" for key in tree if key not in known_keys]
    refused = [problem for group in BUILT for problem in _targets(tree[group], group, is_root=True)]
    if refused:
        return problems + refused
    problems += [problem for group in BUILT for problem in _node(group, tree[group], names[group], folders)]
    return problems or _together(tree, names, folders)


def _value(key: str, value: Any, kind: Any) -> list[str]:
    if kind is signature.UNCHECKED or fits(value, kind):
        return []
    shown = "no value" if value in ("", MISSING) else repr(value)
    return [f"{key}: {shown} given; it must be {describe(kind)}"]


def _targets(node: Any, place: str, *, is_root: bool = False) -> list[str]:
    """Anything in a tree that asks for code to be run and is not one of our classes or a declared plugin's."""
    if isinstance(node, list):
        return [p for i, item in enumerate(node) for p in _targets(item, f"{place}[{i}]")]
    if not isinstance(node, Mapping):
        return []
    problems = [p for key, item in node.items() for p in _targets(item, f"{place}.{key}")]
    for key in node:
        if not str(key).startswith("_"):
            continue
        target = str(node[key])
        if key != "_target_" or not is_root:
            problems.append(f"{place}.{key}: not a key train reads")
        elif not target.startswith(OURS) and not plugins.is_declared(target):
            module = target.split(".")[0]
            mine = "." in target and module not in sys.stdlib_module_names
            hint = f"; if the module is yours, plugins=[{module}]" if mine else ""
            problems.append(f"{place}._target_: target {target!r} is not on the allow-list{hint}")
    return problems


def _node(group: str, node: Mapping[str, Any], name: str, folders: Sequence[Path]) -> list[str]:
    """The problems of one group against the signature of the class it names."""
    target = str(node.get("_target_"))
    found = signature.read(target)
    if found is None:
        path = signature.source_of(target)
        near = did_you_mean(target.rpartition(".")[2], signature.classes(path)) if path else ""
        return [f"{group}._target_: there is no class {target}{near}"]
    known = {key: kind for key, kind in found.types.items() if key not in GIVEN.get(group, ())}
    given = {key: value for key, value in node.items() if key != "_target_"}
    problems = [f"{group}.{key}: unknown key{did_you_mean(key, known)}" for key in given if key not in known]
    lacking = [key for key in known if key in found.required and key not in given]
    problems += [f"{group}.{key}: {group} {name} needs it" for key in lacking]
    fillable = group in ("model", "task")
    for key, value in given.items():
        if key not in known or (value == MISSING and fillable):
            continue
        if value == MISSING:
            option = catalog.options(group, folders).get(name)
            meaning = option.meanings().get(key, "") if option else ""
            problems.append(f"{group}.{key}: needs a value{f' ({meaning})' if meaning else ''}")
            continue
        problems += _value(f"{group}.{key}", value, known[key])
    return problems


def _together(tree: Mapping[str, Any], names: Mapping[str, str], folders: Sequence[Path]) -> list[str]:
    """Why model, data and task do not fit, with the data sets that would."""
    targets = {group: tree[group]["_target_"] for group in ("model", "data", "task")}
    reason = contract.explain(targets, names)
    if reason is not None:
        return [f"{reason}. {_would_fit(targets, names, folders)}"]
    if tree["teacher_forcing"] is not None and "teacher_forcing" not in tree["task"]:
        return [f"teacher_forcing: task {names['task']} has no past to feed; it is for task seq2seq"]
    return []


def _would_fit(targets: Mapping[str, str], names: Mapping[str, str], folders: Sequence[Path]) -> str:
    model = catalog.options("model", folders).get(names["model"])
    tasks = catalog.options("task", folders)
    good = []
    for option in catalog.options("data", folders).values():
        task = tasks.get((model.task if model else None) or option.task or "classification")
        if option.target and task and task.target:
            trial = {"model": targets["model"], "data": option.target, "task": task.target}
            if contract.explain(trial, {"model": "", "data": "", "task": ""}) is None:
                good.append(option.name)
    return f"{names['model']} works with: {', '.join(good) or 'no data set here'}"
