"""Composition of YAML files by Hydra, and assignment of the values of a command line.

Hydra's own error messages are replaced, because advice such as "use +model.hiden=8" makes users add keys that nothing
reads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override, OverrideType
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from trainer.config import config_dir, secret_masking, yaml_limits
from trainer.config.allowed_keys import YAML_HYDRA_KEYS, is_list_entry
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.key_suggestions import suggest_key, suggest_separators
from trainer.config.registry import OBJECT_GROUPS
from trainer.utils.errors import ConfigError

_GENERATED_HYDRA_KEYS = ("runtime", "overrides", "searchpath", "job.override_dirname")
"""Keys below ``hydra`` that Hydra fills in itself after merging."""
_COMPOSE_CACHE: dict[tuple[object, ...], DictConfig] = {}


def compose_base(choices: tuple[str, ...], config_dirs: tuple[Path, ...]) -> DictConfig:
    """Return the YAML files merged for a choice of options, before individual values are set.

    Args:
        choices: Overrides that choose options, such as ``model=lstm``.
        config_dirs: Directories with YAML files of the user.

    Raises:
        ConfigError: The files do not compose, or one changes a key that only Hydra or the command line may set.
    """
    # The modification times are part of the key: in a notebook, files are edited between two calls.
    key = (
        choices,
        config_dirs,
        *_get_mtimes(get_builtin_dir()),
        *(mtime for directory in config_dirs for mtime in _get_mtimes(directory)),
    )
    if key not in _COMPOSE_CACHE:
        searchpath = config_dir.make_searchpath_override(config_dirs)
        composed = _compose([*choices, *searchpath])
        if config_dirs:
            _check_choices(composed)
            _check_hydra_changes(composed, choices, searchpath)
        _COMPOSE_CACHE[key] = composed
    return deepcopy(_COMPOSE_CACHE[key])


@contextmanager
def preserve_hydra_state() -> Iterator[None]:
    """Restore Hydra's singletons after the block, because the caller may be a Hydra application itself.

    Hydra replaces the instance of ``GlobalHydra`` by a copy, but the caller may hold a reference to the original.
    """
    global_hydra, hydra_config = GlobalHydra.instance(), HydraConfig.instance()
    hydra, config = global_hydra.hydra, hydra_config.cfg
    try:
        yield
    finally:
        GlobalHydra.set_instance(global_hydra)
        global_hydra.hydra, hydra_config.cfg = hydra, config


def _compose(overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(get_builtin_dir().absolute()), version_base="1.3", job_name="train"):
            return hydra_compose("train", overrides=list(overrides), return_hydra_config=True)
    except RecursionError as error:
        raise ConfigError("the YAML files do not compose: a defaults list includes its own file") from error
    # Hydra checks files with assertions too, and lets ValueErrors such as UnicodeDecodeError through.
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or "Hydra gives no reason"
        raise ConfigError(f"the YAML files do not compose: {reason[:300]}") from error


def list_hydra_options(group: str) -> list[str]:
    """Return the names of the installed launchers or sweepers.

    Args:
        group: ``hydra/launcher`` or ``hydra/sweeper``.
    """
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(get_builtin_dir().absolute()), version_base="1.3", job_name="train"):
        return GlobalHydra.instance().config_loader().get_group_options(group)


def _get_mtimes(directory: Path) -> list[tuple[str, int]]:
    """Return the YAML files of a config directory with their modification times."""
    files = (path for pattern in ("*.yaml", "*/*.yaml", "hydra/*/*.yaml") for path in directory.glob(pattern))
    return [(str(path), path.stat().st_mtime_ns) for path in files if path.is_file()]


def _check_choices(composed: DictConfig) -> None:
    """Raise ConfigError if a defaults list chooses several options of a group that takes one."""
    ambiguous_groups = [group for group in OBJECT_GROUPS if group not in composed.hydra.runtime.choices]
    if ambiguous_groups:
        raise ConfigError(
            *(f"{group}: a defaults list gives it a list; one option is needed" for group in ambiguous_groups)
        )


def _check_hydra_changes(composed: DictConfig, choices: Sequence[str], searchpath: Sequence[str]) -> None:
    """Raise ConfigError if YAML files set keys of Hydra other than output directories, or ``plugins``."""
    default_values, composed_values = (
        _flatten_tree(OmegaConf.to_container(tree.hydra, resolve=False))
        for tree in (compose_base(tuple(text for text in choices if text.startswith("hydra/")), ()), composed)
    )
    allowed_keys = (*(key.removeprefix("hydra.") for key in YAML_HYDRA_KEYS), *_GENERATED_HYDRA_KEYS)
    absent = object()
    changed = [
        key
        for key in composed_values | default_values
        if not any(key == name or key.startswith(f"{name}.") for name in allowed_keys)
        and composed_values.get(key, absent) != default_values.get(key, absent)
    ]
    # Hydra composes the jobs of a sweep from these lists.
    for name, overrides in (("hydra", [*choices, *searchpath]), ("task", choices)):
        expected_overrides = [text for text in overrides if text.startswith("hydra") == (name == "hydra")]
        if list(composed.hydra.overrides[name]) != expected_overrides:
            changed.append(f"overrides.{name}")
    top_keys = dict.fromkeys(".".join(key.split(".")[:2]) for key in changed)
    problems = [
        f"hydra.{key}: a YAML file sets it; of Hydra's own keys, a YAML file may set {', '.join(YAML_HYDRA_KEYS)}"
        for key in top_keys
    ]
    plugins_node = composed._get_node("plugins")
    if plugins_node != []:
        problems.append(
            "plugins: a YAML file sets it, but only the command line may name modules to import: plugins=[your_module]"
        )
    if problems:
        raise ConfigError(*problems)


def _flatten_tree(node: Any, prefix: str = "") -> dict[str, Any]:
    """Return the values of a tree by their dotted keys; an empty mapping counts as a value."""
    if not isinstance(node, Mapping) or not node:
        return {prefix: node}
    return {
        key: leaf
        for name, item in node.items()
        for key, leaf in _flatten_tree(item, f"{prefix}.{name}" if prefix else str(name)).items()
    }


def set_override(composed: DictConfig, item: Override) -> list[str]:
    """Set one value, or return the problem that prevents it.

    Args:
        composed: Composed configuration; modified in place.
        item: Parsed override.

    Returns:
        A list that is empty or contains one problem.
    """
    key = item.key_or_group
    node: Any = composed
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            hint = suggest_separators(composed, key)
            return [f"{key}: {'.'.join(parts[:depth])} is a value and has no key {part}{hint}"]
        if part not in list(node):
            if is_list_entry(key) and item.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
                break
            hint = suggest_separators(composed, key) or suggest_key(composed, parts[:depth], part)
            return [f"{key}: unknown key{hint}"]
        node = node._get_node(part)
    try:
        with open_dict(composed):
            OmegaConf.update(composed, key, item.value(), merge=False)
    except OmegaConfBaseException as error:
        return [f"{key}: {str(error).splitlines()[0]}"]
    return []


def to_containers(composed: DictConfig) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Convert a composed configuration to plain containers, without Hydra's own keys.

    Args:
        composed: Composed configuration.

    Returns:
        ``(raw, resolved, problems)``: resolved values except those from the environment, which are left as written; all
        values resolved; problems of interpolations.

    Raises:
        ConfigError: Interpolations would expand beyond the limits of ``yaml_limits``.
    """
    user_config = OmegaConf.masked_copy(composed, [str(k) for k in composed if k != "hydra"])
    problems: list[str] = []
    raw: Any = OmegaConf.to_container(user_config, resolve=False)
    yaml_limits.check_interpolations(raw)
    try:
        resolved: Any = OmegaConf.to_container(user_config, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        problems = [f"{error.full_key}: {str(error).splitlines()[0]}"]
        resolved = raw
    return secret_masking.restore_env_references(user_config, raw, resolved), resolved, problems
