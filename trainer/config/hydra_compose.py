"""The YAML files merged by Hydra, and the values of a command line set in them.

Hydra's own messages never reach the user, because "use +model.hiden=8" teaches people to write keys that nothing reads.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
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

from trainer.config import config_dir, inapplicable_keys, registry, secret_masking, yaml_limits
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.key_owners import describe_key_owner
from trainer.config.migrations import find_renamed_key
from trainer.config.overrides import is_list_entry
from trainer.config.validation import LIST_GROUPS, OBJECT_GROUPS
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

ALLOWED_HYDRA_KEYS = ("run.dir", "sweep.dir", "sweep.subdir")
"""What of Hydra's own a YAML file may set: where results go. Hydra acts on the rest before a job is looked at."""
_GENERATED_HYDRA_KEYS = ("runtime", "overrides", "searchpath", "job.override_dirname")
"""What Hydra writes itself when it has merged everything."""


PATH_KEY_NAMES = ("path", "data_dir", "dir", "directory", "root", "folder", "file", "filename", "files", "location")
"""How people call the place of files."""
_COMPOSE_CACHE: dict[tuple[object, ...], DictConfig] = {}


def compose_base(chosen: tuple[str, ...], folders: tuple[Path, ...]) -> DictConfig:
    """The YAML files merged for a choice of options, before any single value is set."""
    # In a notebook the files may have changed since the last time.
    key = (
        chosen,
        folders,
        *_get_mtimes(get_builtin_dir()),
        *(stamp for folder in folders for stamp in _get_mtimes(folder)),
    )
    if key not in _COMPOSE_CACHE:
        search = config_dir.make_searchpath_override(folders)
        composed = _compose([*chosen, *search])
        if folders:
            _check_choices(composed)
            _check_hydra_changes(composed, chosen, search)
        _COMPOSE_CACHE[key] = composed
    return deepcopy(_COMPOSE_CACHE[key])


@contextmanager
def preserve_hydra_state() -> Iterator[None]:
    """A block after which Hydra's singletons are as they were: the caller may be a Hydra application itself."""
    hydra, config = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    try:
        yield
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = hydra, config


def _compose(overrides: Sequence[str]) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(get_builtin_dir().absolute()), version_base="1.3", job_name="train"):
            return hydra_compose("train", overrides=list(overrides), return_hydra_config=True)
    except RecursionError as error:
        raise ConfigError("the YAML files do not compose: the defaults of one lead back to itself") from error
    # Hydra asserts what it expects of a file, and raises ValueErrors (UnicodeDecodeError is one) of its own.
    except (HydraException, OmegaConfBaseException, YAMLError, ValueError, AssertionError) as error:
        reason = " ".join(str(error).split()) or "Hydra gives no reason"
        raise ConfigError(f"the YAML files do not compose: {reason[:300]}") from error


def list_hydra_options(group: str) -> list[str]:
    """The launchers or sweepers that are installed."""
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(get_builtin_dir().absolute()), version_base="1.3", job_name="train"):
        return GlobalHydra.instance().config_loader().get_group_options(group)


def resolve_precedence(composed: DictConfig, said: Collection[str], folders: Sequence[Path] = ()) -> None:
    """What is said last of a thing wins, also where two keys speak of it; ``said`` are the keys of the command line.

    ``epochs`` and ``max_steps`` both say how long, ``monitor`` and the first of ``task.scores`` what chooses the
    weights. A data set's ``monitor`` is a score of the task it chooses: with another task it says nothing; nor do the
    keys that a file sets of an optimizer that was not chosen.
    """
    inapplicable_keys.drop_inapplicable_keys(composed, folders)
    names = composed.hydra.runtime.choices
    files = [
        registry.list_options(group, folders).get(str(names.get(group))) for group in ("experiment", "model", "data")
    ]
    # Of files that inherit from one another, the heir speaks after those it inherits from.
    heirs_first = [[layer.global_keys for layer in reversed(file.layers)] if file else [] for file in files]
    layers = [set(said), *(keys for option in heirs_first for keys in option)]
    lasting = next((keys for keys in layers if keys & {"epochs", "max_steps"}), set())
    if "epochs" in lasting and "max_steps" not in lasting:
        composed.max_steps = None
    if "task.scores" in said and "monitor" not in said:
        composed.monitor = None
    *above, data = files
    set_above = {*said}.union(*(file.global_keys for file in above if file))
    if data and "monitor" in data.global_keys - set_above and data.task_name not in (None, names["task"]):
        composed.monitor = None


def _get_mtimes(folder: Path) -> list[tuple[str, int]]:
    """The YAML files of a configuration folder, each with the time of its last change."""
    files = (path for pattern in ("*.yaml", "*/*.yaml", "hydra/*/*.yaml") for path in folder.glob(pattern))
    return [(str(path), path.stat().st_mtime_ns) for path in files if path.is_file()]


def _check_choices(composed: DictConfig) -> None:
    """Raises ConfigError where a defaults list gives a group several options: it is built of one."""
    several = [group for group in OBJECT_GROUPS if group not in composed.hydra.runtime.choices]
    if several:
        raise ConfigError(*(f"{group}: a defaults list gives it a list; one option is needed" for group in several))


def _check_hydra_changes(composed: DictConfig, chosen: Sequence[str], search: Sequence[str]) -> None:
    """Refuses YAML files that change anything of Hydra's own but where results go, or that say what is imported.

    Raises ConfigError naming the keys.
    """
    usual, found = (
        _flatten_tree(OmegaConf.to_container(tree.hydra, resolve=False))
        for tree in (compose_base(tuple(text for text in chosen if text.startswith("hydra/")), ()), composed)
    )
    free = (*ALLOWED_HYDRA_KEYS, *_GENERATED_HYDRA_KEYS)
    changed = [
        key
        for key in [*found, *(usual.keys() - found.keys())]
        if not any(key == name or key.startswith(f"{name}.") for name in free)
        and (key not in usual or key not in found or usual[key] != found[key])
    ]
    # What stands here is what Hydra composes the jobs of a sweep from.
    for name, given in (("hydra", [*chosen, *search]), ("task", chosen)):
        kept = [text for text in given if text.startswith("hydra") == (name == "hydra")]
        if list(composed.hydra.overrides[name]) != kept:
            changed.append(f"overrides.{name}")
    allowed = ", ".join(f"hydra.{key}" for key in ALLOWED_HYDRA_KEYS)
    tops = dict.fromkeys(".".join(key.split(".")[:2]) for key in changed)
    problems = [f"hydra.{key}: a YAML file changes it; of Hydra's own a YAML file may set {allowed}" for key in tops]
    named = composed._get_node("plugins")
    if named != []:
        problems.append("plugins: a YAML file names modules to import; only a command may: add plugins=[your_module]")
    if problems:
        raise ConfigError(*problems)


def _flatten_tree(node: Any, place: str = "") -> dict[str, Any]:
    """Each value of a tree by its full key; what is empty counts as a value."""
    if not isinstance(node, Mapping) or not node:
        return {place: node}
    return {
        key: leaf
        for name, item in node.items()
        for key, leaf in _flatten_tree(item, f"{place}.{name}" if place else str(name)).items()
    }


def find_shadowed_files(folders: Sequence[Path]) -> list[str]:
    """Files of the user's that Hydra would pass over, because ours of the same name comes first."""
    return [
        f"--config-dir: {option.path} has the name of {group}={name}, which is ours and would win; rename it"
        for folder in folders
        for group in registry.GROUPS
        for name, option in registry.list_dir_options(folder, group).items()
        if name in registry.list_dir_options(get_builtin_dir(), group)
    ]


def set_override(composed: DictConfig, item: Override) -> list[str]:
    """Sets one value, or says why it cannot be set."""
    key = item.key_or_group
    node: Any = composed
    parts = key.split(".")
    for depth, part in enumerate(parts):
        if not isinstance(node, DictConfig):
            return [f"{key}: {'.'.join(parts[:depth])} is a value and has no key {part}"]
        if part not in list(node):
            if is_list_entry(key) and item.type in (OverrideType.ADD, OverrideType.FORCE_ADD):
                break
            return [f"{key}: unknown key{_suggest_key(composed, parts[:depth], part)}"]
        node = node._get_node(part)
    try:
        with open_dict(composed):
            OmegaConf.update(composed, key, item.value(), merge=False)
    except OmegaConfBaseException as error:
        return [f"{key}: {str(error).splitlines()[0]}"]
    return []


def _suggest_key(composed: DictConfig, above: Sequence[str], part: str) -> str:
    """The key a misspelt one was probably meant to be.

    One of that very name in what was chosen comes first, then one like it among its neighbors, then anywhere.
    """
    groups = [group for group in OBJECT_GROUPS if isinstance(composed.get(group), DictConfig)]
    deep = [f"{group}.{key}" for group in groups for key in composed[group] if not str(key).startswith("_")]
    same = [key for key in deep if key.partition(".")[2] == part]
    if same and not above:
        return f"; did you mean {' or '.join(same)}?"
    names = {group: str(composed.hydra.runtime.choices[group]) for group in groups}
    if not above and (owner := describe_key_owner(part, names)):
        return owner
    here = OmegaConf.select(composed, ".".join(above)) if above else composed
    prefix = "".join(f"{name}." for name in above)
    if len(above) == 1 and above[0] in LIST_GROUPS:
        return _suggest_entry(composed, above[0], part)
    if isinstance(here, DictConfig) and (current := find_renamed_key(str(here.get("_target_")), part)):
        return f"; it is called {prefix}{current} now"
    near = did_you_mean(part, [str(k) for k in here if k != "hydra" and not str(k).startswith("_")])
    if near:
        return near.replace("mean ", f"mean {prefix}")
    if part in PATH_KEY_NAMES and above == ["data"]:
        own = [f"data.{name}" for name in here if name in (*PATH_KEY_NAMES, "name")]
        if own:
            return f"; data={composed.hydra.runtime.choices.data} finds its files by {' and '.join(own)}"
    if len(above) == 1 and (
        able := [o.name for o in registry.list_options(above[0]).values() if part in o.get_descriptions()]
    ):
        chosen = composed.hydra.runtime.choices.get(above[0])
        mine = ", ".join(key for key in deep if key.startswith(prefix))
        return f"; {above[0]} {chosen} has {mine or 'no keys'} ({part} is a key of {', '.join(able[:3])})"
    if same:
        return f"; did you mean {' or '.join(same)}?"
    guess = did_you_mean(part, [key.partition(".")[2] for key in deep])
    for full in deep:
        guess = guess.replace(f"mean {full.partition('.')[2]}?", f"mean {full}?")
    return guess


def _suggest_entry(composed: DictConfig, group: str, name: str) -> str:
    """How an object is added to a group that has any number of them, or the one that was meant."""
    there = [str(key) for key in composed[group]]
    if near := did_you_mean(name, there):
        return near.replace("mean ", f"mean {group}.")
    if name in registry.list_options(group):
        return f"; {name} is not chosen: {group}=[{','.join([*there, name])}]"
    return f"; a class of yours is added by +{group}.{name}._target_=your_module.Class"


def to_containers(composed: DictConfig) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
    """Plain containers: as written (what comes from the environment unresolved), and resolved.

    Raises ConfigError for interpolations that would grow beyond measure.
    """
    own = OmegaConf.masked_copy(composed, [str(k) for k in composed if k != "hydra"])
    problems: list[str] = []
    written: Any = OmegaConf.to_container(own, resolve=False)
    yaml_limits.check_interpolations(written)
    try:
        resolved: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as error:
        problems = [f"{error.full_key}: {str(error).splitlines()[0]}"]
        resolved = written
    return secret_masking.restore_env_references(own, written, resolved), resolved, problems
