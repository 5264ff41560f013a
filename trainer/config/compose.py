"""Configurations, composed by Hydra and validated before torch is imported; all problems are reported at once."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, open_dict
from omegaconf.errors import OmegaConfBaseException

from trainer.config import hydra_compose, precedence, registry, target_overrides
from trainer.config.overrides import (
    ALLOWED_HYDRA_GROUPS,
    find_conflicting_overrides,
    find_override_problems,
    find_unknown_option,
    parse_overrides,
)
from trainer.config.registry import OBJECT_GROUPS
from trainer.config.schema import Settings
from trainer.config.validation import check_config, declare_config_plugins, find_problems
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
}
"""Keys that do not affect training: runs that differ only in these have the same configuration hash."""


def repeats_runtime_key(key: str, value: object, tree: Mapping[str, Any]) -> bool:
    """Return whether a key of a group only repeats a runtime key, as in ``data_dir: ${data_dir}``.

    Args:
        key: Key in the group, without the group.
        value: Its value.
        tree: Configuration with the global keys.
    """
    return key in RUNTIME_ONLY_KEYS and key in tree and value in (tree[key], f"${{{key}}}")


def drop_runtime_keys(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without runtime keys and the keys of groups that only repeat one."""
    return {
        key: {name: item for name, item in value.items() if not repeats_runtime_key(name, item, tree)}
        if isinstance(value, Mapping)
        else value
        for key, value in tree.items()
        if key not in RUNTIME_ONLY_KEYS
    }


@dataclass(frozen=True)
class Config:
    """Composed and validated configuration.

    Attributes:
        tree: Plain values with every interpolation resolved.
        raw: The same, but with values from the environment left as ``${oc.env:...}``; this is what is saved.
        names: Chosen option of each group.
        overrides: Overrides of the command line.
        run_dir: Run directory.
        sweep_dir: Directory of the sweep that the run belongs to.
        settings: Values of the global keys.
        working_dir: Directory that relative paths refer to.
        moved_paths: Current paths of data files that were moved, by key.
        fingerprint: Fingerprint of the user's data files; None before it is computed.
        fingerprint_time: Time at which it was computed, in seconds.
        fitted: Preprocessing of another run, if rows are to be encoded in the same way.
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
        """Digest of the contents of the user's data files, or None if there are none."""
        return None if self.fingerprint is None else str(self.fingerprint["digest"])

    @property
    def config_hash(self) -> str:
        """Hash of everything that affects training: the keys and the contents of the user's data files."""
        return self.compute_config_hash(self.data_digest)

    def compute_config_hash(self, data_digest: str | None) -> str:
        """Return the configuration hash for a given digest of the user's data files.

        Args:
            data_digest: Digest of the contents; None if there are no files.
        """
        training_config = drop_runtime_keys(self.tree)
        if not training_config["callbacks"]:  # as in runs that were saved before there was this group
            del training_config["callbacks"]
        training_config["plugins"] = self._list_training_plugins()
        if data_digest is not None:
            training_config["data_digest"] = data_digest
        return hashlib.sha256(json.dumps(training_config, sort_keys=True).encode()).hexdigest()[:16]

    def _list_training_plugins(self) -> list[str]:
        """Return the plugins without those that define only loggers."""
        loggers = self.tree["logger"].values()
        others = [*self.tree["callbacks"].values(), *(self.tree[group] for group in OBJECT_GROUPS)]
        logger_modules, other_modules = (
            {str(node["_target_"]).partition(".")[0] for node in nodes} for nodes in (loggers, others)
        )
        return [name for name in self.tree["plugins"] if name not in logger_modules - other_modules]


def compose(overrides: Sequence[str] = (), config_dirs: Sequence[Path] = ()) -> Config:
    """Compose and validate the configuration of a command line.

    Args:
        overrides: Overrides, such as ``["model=lstm", "optimizer.lr=0.01"]``.
        config_dirs: Directories with YAML files of the user.

    Raises:
        UnknownNameError: A key or an option does not exist. Contains all other problems too.
        IncompatibleError: The only problems are options that are incompatible with each other.
        ConfigError: There are other problems; all of them are listed.
    """
    parsed = parse_overrides(overrides, config_dirs)
    groups = registry.list_groups(config_dirs) | {*ALLOWED_HYDRA_GROUPS}
    problems = [
        *precedence.find_shadowed_files(config_dirs),
        *(problem for item in parsed for problem in find_override_problems(item)),
    ]
    valid = [item for item in parsed if not find_override_problems(item)]
    choices = [item for item in valid if item.key_or_group in groups]
    assignments = [item for item in valid if item.key_or_group not in groups]
    unknown_options = [problem for item in choices if (problem := find_unknown_option(item, config_dirs))]
    known_choices = [item for item in choices if not find_unknown_option(item, config_dirs)]
    composed = hydra_compose.compose_base(
        tuple(item.input_line or "" for item in known_choices if item.value() is not None), tuple(config_dirs)
    )
    # Keys of an option that does not exist cannot be checked, nor the task it would choose; everything else can.
    unchecked_groups = {i.key_or_group for i in parsed if i.key_or_group in groups and i not in known_choices}
    is_task_known = any(item.key_or_group == "task" for item in known_choices)
    if unchecked_groups & {"model", "data", "experiment"} and not is_task_known:
        unchecked_groups.add("task")
    problems += find_conflicting_overrides(assignments)
    explicit_keys = {item.key_or_group for item in parsed if item.key_or_group not in groups}
    precedence.resolve_precedence(composed, explicit_keys, config_dirs)
    _declare_named_plugins(assignments)
    target_overrides.expand_targets(composed, assignments, config_dirs)
    unknown_keys = [
        problem
        for item in assignments
        if item.key_or_group.split(".")[0] not in unchecked_groups
        for problem in hydra_compose.set_override(composed, item)
    ]
    raw, resolved, interpolation_problems = hydra_compose.to_containers(composed)
    names = {group: str(name) for group, name in composed.hydra.runtime.choices.items() if group in OBJECT_GROUPS}
    problems += interpolation_problems or declare_config_plugins(resolved)
    config_problems, conflicts = (
        ([], []) if interpolation_problems else find_problems(resolved, names, config_dirs, unchecked_groups)
    )
    problems += config_problems
    if unknown_options or unknown_keys:
        raise UnknownNameError(*unknown_options, *unknown_keys, *dict.fromkeys([*problems, *conflicts]))
    if problems or conflicts:
        raise (ConfigError if problems else IncompatibleError)(*dict.fromkeys([*problems, *conflicts]))
    return _make_config(composed, raw, resolved, overrides)


def from_hydra(composed: DictConfig) -> Config:
    """Return the validated configuration of a job that was composed by one of Hydra's own sweepers.

    Args:
        composed: Configuration of the job, as Hydra passes it to the main function.

    Raises:
        ConfigError: The configuration is invalid; all problems are listed.
    """
    hydra_config = HydraConfig.get()
    merged = composed.copy()
    with open_dict(merged):
        merged.hydra = hydra_config
    groups = registry.list_groups()
    assignments = [item for item in parse_overrides(hydra_config.overrides.task) if item.key_or_group not in groups]
    precedence.resolve_precedence(merged, {item.key_or_group for item in assignments})
    _declare_named_plugins(assignments)
    target_overrides.expand_targets(merged, assignments)
    # Again, because an inapplicable key that was dropped may be set on the command line too.
    unknown_keys = [problem for item in assignments for problem in hydra_compose.set_override(merged, item)]
    raw, resolved, interpolation_problems = hydra_compose.to_containers(merged)
    problems = unknown_keys + interpolation_problems
    names = {group: str(name) for group, name in hydra_config.runtime.choices.items() if group in OBJECT_GROUPS}
    if not problems:
        problems = declare_config_plugins(resolved) + check_config(resolved, names)
    if problems:
        raise ConfigError(*problems)
    return _make_config(merged, raw, resolved, list(hydra_config.overrides.task))


def _declare_named_plugins(items: Sequence[Override]) -> None:
    """Declare the plugins of a command line, so that its classes are found; problems are reported later."""
    for item in items:
        if item.key_or_group == "plugins":
            declare_config_plugins({"plugins": item.value()})


def _make_config(
    composed: DictConfig, raw: dict[str, Any], resolved: dict[str, Any], overrides: Sequence[str]
) -> Config:
    HydraConfig.instance().set_config(composed)
    hydra = composed.hydra
    names = {group: str(name) for group, name in hydra.runtime.choices.items() if group in OBJECT_GROUPS}
    global_values = {key: resolved[key] for key in get_type_hints(Settings)}
    try:
        directories = str(hydra.run.dir), str(hydra.sweep.dir)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{error.full_key}: {str(error).splitlines()[0]}") from error
    return Config(resolved, raw, names, list(overrides), *directories, Settings(**global_values))
