"""Configurations: composed by Hydra and validated, with all problems at once, before torch is imported."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from trainer.config import hydra_compose, registry, secret_masking, target_overrides
from trainer.config.overrides import (
    ALLOWED_HYDRA_GROUPS,
    conflicting_overrides,
    invalid_override,
    parse_overrides,
    unknown_option,
)
from trainer.config.schema import Settings
from trainer.config.sweep_grid import find_invalid_sweep
from trainer.config.validation import LIST_GROUPS, OBJECT_GROUPS, check_config, declare_config_plugins, find_problems
from trainer.utils.errors import ConfigError, IncompatibleError, UnknownNameError

if TYPE_CHECKING:
    from trainer.core.preprocessing import Preprocessing

RUNTIME_ONLY_KEYS = {
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
    "fingerprint",
    "allow_changed_data",
    "draw",
    "draw_seconds",
    "logger",
    "log_every",
    "callbacks",
}
"""Keys that do not affect training: runs that differ only in them are the same run."""


@dataclass(frozen=True)
class Config:
    """A composed and validated configuration.

    Attributes:
        tree: Plain values, every interpolation resolved.
        raw: The same with values from the environment left as ``${oc.env:...}``, as it is written to disk.
        names: Chosen option of each group.
        run_dir: Directory for the run.
        sweep_dir: Directory for the sweep it belongs to.
        working_dir: Directory that relative paths refer to.
        moved_paths: Current paths of data files that were moved, by key.
        fingerprint: Fingerprint of the user files that the data is read from; None before it is taken.
        fingerprint_time: When it was taken, in seconds.
        fitted: Preprocessing of another run, if rows are to be encoded alike.
    """

    tree: Mapping[str, Any]
    raw: Mapping[str, Any]
    names: Mapping[str, str]
    overrides: Sequence[str]
    run_dir: str
    sweep_dir: str
    settings: Settings = field(repr=False)
    working_dir: str = field(default_factory=os.getcwd)
    moved_paths: Mapping[str, str] = field(default_factory=dict)
    fingerprint: Mapping[str, Any] | None = field(default=None, repr=False)
    fingerprint_time: float = field(default=0.0, repr=False)
    fitted: Preprocessing | None = field(default=None, repr=False, compare=False)

    @property
    def data_digest(self) -> str | None:
        """Digest of the contents of the user files; None where there are none."""
        return None if self.fingerprint is None else str(self.fingerprint["digest"])

    @property
    def config_hash(self) -> str:
        """Hash of everything that affects training: the keys, and the contents of the user files."""
        return self.compute_config_hash(self.data_digest)

    def compute_config_hash(self, data_digest: str | None) -> str:
        """Return the hash for other contents of the user files."""
        kept = {
            key: self._without_runtime_keys(value) for key, value in self.tree.items() if key not in RUNTIME_ONLY_KEYS
        }
        kept["plugins"] = self._identity_plugins()
        if data_digest is not None:
            kept["data_digest"] = data_digest
        return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()[:16]

    def _identity_plugins(self) -> list[str]:
        """The plugins but those that only loggers and callbacks are of."""
        entries = [item for group in LIST_GROUPS for item in self.tree[group].values()]
        objects = [self.tree[group] for group in OBJECT_GROUPS]
        mine, theirs = ({str(node["_target_"]).partition(".")[0] for node in nodes} for nodes in (entries, objects))
        return [name for name in self.tree["plugins"] if name not in mine - theirs]

    def _without_runtime_keys(self, value: Any) -> Any:
        """A group without the keys that repeat a neutral one, as ``data_dir: ${data_dir}`` does."""
        if not isinstance(value, Mapping):
            return value
        return {key: item for key, item in value.items() if key not in RUNTIME_ONLY_KEYS or item != self.tree[key]}


def compose(overrides: Sequence[str] = (), folders: Sequence[Path] = ()) -> Config:
    """Compose the configuration of a command line.

    Raises:
        UnknownNameError: A key or an option does not exist; with all other problems.
        IncompatibleError: All problems are options that do not fit each other.
        ConfigError: With every other problem.
    """
    parsed = parse_overrides(overrides, folders)
    groups = registry.list_groups(folders) | {*ALLOWED_HYDRA_GROUPS}
    chosen = [item for item in parsed if item.key_or_group in groups]
    values = [item for item in parsed if item.key_or_group not in groups]
    misused = [item for item in parsed if invalid_override(item)]
    wrong = [problem for item in chosen if item not in misused and (problem := unknown_option(item, folders))]
    problems = [
        *hydra_compose.find_shadowed_files(folders),
        *(problem for item in misused for problem in invalid_override(item)),
    ]
    unknown: list[str] = []
    usable = [item for item in chosen if item not in misused and not unknown_option(item, folders)]
    composed = hydra_compose.compose_base(
        tuple(item.input_line or "" for item in usable if item.value() is not None), tuple(folders)
    )
    # What belongs to an option that does not exist cannot be judged, nor its task; everything else still is.
    unjudged = {item.key_or_group for item in chosen if item not in usable}
    if unjudged & {"model", "data", "experiment"} and not any(item.key_or_group == "task" for item in usable):
        unjudged.add("task")
    problems += conflicting_overrides([item for item in values if item not in misused])
    hydra_compose.resolve_precedence(composed, {item.key_or_group for item in values}, folders)
    usable_values = [item for item in values if item not in misused]
    _declare_named_plugins(usable_values)
    target_overrides.expand_targets(composed, usable_values, folders)
    for item in values:
        if item.key_or_group.split(".")[0] not in unjudged and item not in misused:
            unknown += hydra_compose.set_override(composed, item)
    written, resolved, unresolved = hydra_compose.to_containers(composed)
    names = {group: str(name) for group, name in composed.hydra.runtime.choices.items() if group in OBJECT_GROUPS}
    problems += unresolved or declare_config_plugins(resolved)
    faults, conflicts = ([], []) if unresolved else find_problems(resolved, names, folders, unjudged)
    problems += faults
    if wrong or unknown:
        raise UnknownNameError(*wrong, *unknown, *dict.fromkeys([*problems, *conflicts]))
    if problems or conflicts:
        raise (ConfigError if problems else IncompatibleError)(*dict.fromkeys([*problems, *conflicts]))
    return _make_config(composed, written, resolved, overrides)


def from_hydra(composed: DictConfig) -> Config:
    """The checked configuration of a job that one of Hydra's other sweepers composed.

    Raises ConfigError with every problem.
    """
    current = HydraConfig.get()
    whole = composed.copy()
    with open_dict(whole):
        whole.hydra = current
    groups = registry.list_groups()
    said = [item for item in parse_overrides(current.overrides.task) if item.key_or_group not in groups]
    hydra_compose.resolve_precedence(whole, {item.key_or_group for item in said})
    _declare_named_plugins(said)
    target_overrides.expand_targets(whole, said)
    # Once more: a key that is taken back because a file set it may be one that the command line sets, too.
    unknown = [problem for item in said for problem in hydra_compose.set_override(whole, item)]
    written, resolved, unresolved = hydra_compose.to_containers(whole)
    problems = unknown + unresolved
    names = {group: str(name) for group, name in current.runtime.choices.items() if group in OBJECT_GROUPS}
    if not problems:
        problems = declare_config_plugins(resolved) + check_config(resolved, names)
    if problems:
        raise ConfigError(*problems)
    return _make_config(whole, written, resolved, list(current.overrides.task))


def _declare_named_plugins(items: Sequence[Override]) -> None:
    """Makes the modules known that a command names, whose classes it may name as well; faults are found later."""
    for item in items:
        if item.key_or_group == "plugins":
            declare_config_plugins({"plugins": item.value()})


def check_hydra_sweep(overrides: Sequence[str], folders: Sequence[Path]) -> None:
    """What can be told of a grid that one of Hydra's own sweepers will span: its names, and that nothing else runs.

    Raises ConfigError with every problem.
    """
    parsed = parse_overrides(overrides, folders)
    problems = [
        problem for item in parsed for problem in invalid_override(item, is_sweep=True)
    ] + conflicting_overrides(parsed)
    groups = registry.list_groups(folders) | {*ALLOWED_HYDRA_GROUPS}
    choices = [
        _expand_choices(item, folders) for item in parsed if item.key_or_group in groups and item.package is None
    ]
    # Hydra's sweeper writes the command line to multirun.yaml as it stands.
    problems += [
        f"{text.partition('=')[0]}: a sweep of Hydra's would write this secret down; give it as ${{oc.env:NAME}}"
        for text in overrides
        if secret_masking.mask_override(text) != text
    ]
    problems += [
        wrong for item in parsed if item.key_or_group in groups for wrong in _find_unknown_options(item, folders)
    ]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    # Together: what one file chooses may depend on another.
    for chosen in product(*choices) if folders else ((),):
        hydra_compose.compose_base(tuple(chosen), tuple(folders))


def _expand_choices(item: Override, folders: Sequence[Path]) -> list[str]:
    """The overrides of one group that a sweep will make."""
    key = item.key_or_group
    if not item.is_sweep_override():
        if isinstance(item.value(), list):
            return [item.input_line or ""]
        return [f"{key}={item.value()}"] if item.value() is not None else []
    is_list = item.is_choice_sweep() and not find_invalid_sweep(item, folders)
    names = item.sweep_string_iterator() if is_list else iter(registry.list_options(key, folders))
    return [f"{key}={name}" for name in names]


def _find_unknown_options(item: Override, folders: Sequence[Path]) -> list[str]:
    if item.key_or_group in ALLOWED_HYDRA_GROUPS or not item.is_choice_sweep():
        wrong = None if item.is_sweep_override() else unknown_option(item, folders)
        return [wrong] if wrong else []
    if problem := find_invalid_sweep(item, folders):
        return [problem]
    known = registry.list_options(item.key_or_group, folders)
    names = map(str, item.sweep_iterator())
    return [registry.describe_unknown_option(item.key_or_group, name, known) for name in names if name not in known]


def _make_config(
    composed: DictConfig, written: dict[str, Any], resolved: dict[str, Any], overrides: Sequence[str]
) -> Config:
    HydraConfig.instance().set_config(composed)
    hydra = composed.hydra
    names = {group: str(name) for group, name in hydra.runtime.choices.items() if group in OBJECT_GROUPS}
    flat = {key: resolved[key] for key in get_type_hints(Settings)}
    try:
        folders = str(hydra.run.dir), str(hydra.sweep.dir)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return Config(resolved, written, names, list(overrides), *folders, Settings(**flat))
