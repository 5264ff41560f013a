"""The YAML files merged by Hydra, and the values of a command line set in them.

Hydra's own messages never reach the user, because "use +model.hiden=8" teaches people to write keys that nothing reads.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from trainer import catalog
from trainer.checks import BUILT
from trainer.errors import ConfigError, did_you_mean

HYDRA_RUNS = ("callbacks", "env", "hydra_logging", "job_logging", "job.chdir", "job.env_set", "job.env_copy")
"""What Hydra would carry out before a job is looked at: no YAML file may change it."""


PATH_LIKE = ("path", "data_dir", "dir", "directory", "root", "folder", "file", "filename", "files", "location")
"""How people call the place of files."""
_composed: dict[tuple[object, ...], DictConfig] = {}


def base(chosen: tuple[str, ...], folders: tuple[Path, ...]) -> DictConfig:
    """The YAML files merged for a choice of options, before any single value is set."""
    # In a notebook the files may have changed since the last time.
    key = (chosen, folders, *_stamps(catalog.builtin()), *(stamp for folder in folders for stamp in _stamps(folder)))
    if key not in _composed:
        places = ",".join(f"file://{folder.absolute()}" for folder in folders)
        search = [f"hydra.searchpath=[{places}]"] if folders else []
        GlobalHydra.instance().clear()
        try:
            with initialize_config_dir(str(catalog.builtin().absolute()), version_base="1.3", job_name="train"):
                composed = hydra_compose("train", overrides=[*chosen, *search], return_hydra_config=True)
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            reason = " ".join(str(error).split())
            raise ConfigError(f"the YAML files do not compose: {reason[:300]}") from error
        if folders:
            _guard(composed)
        _composed[key] = composed
    return deepcopy(_composed[key])


def settle(composed: DictConfig, said: Collection[str], folders: Sequence[Path] = ()) -> None:
    """What is said last of a thing wins, also where two keys speak of it; ``said`` are the keys of the command line.

    ``epochs`` and ``max_steps`` both say how long. A data set's ``monitor`` is a score of the task it chooses: with
    another task it says nothing.
    """
    names = composed.hydra.runtime.choices
    files = [catalog.options(group, folders).get(str(names.get(group))) for group in ("experiment", "model", "data")]
    layers = [set(said), *(file.flat if file else set() for file in files)]
    lasting = next((keys for keys in layers if keys & {"epochs", "max_steps"}), set())
    if "epochs" in lasting and "max_steps" not in lasting:
        composed.max_steps = None
    *above, data = layers
    if "monitor" in data.difference(*above) and files[-1] and files[-1].task not in (None, names["task"]):
        composed.monitor = None


def _stamps(folder: Path) -> list[tuple[str, int]]:
    """The YAML files of a configuration folder, each with the time of its last change."""
    files = (path for pattern in ("*.yaml", "*/*.yaml", "hydra/*/*.yaml") for path in folder.glob(pattern))
    return [(str(path), path.stat().st_mtime_ns) for path in files if path.is_file()]


def _guard(composed: DictConfig) -> None:
    """Refuses YAML files in which Hydra would find something to run.

    Raises ConfigError naming the key.
    """
    usual = base((), ())
    problems = [
        f"hydra.{name}: a YAML file sets it, and no YAML file may"
        for name in HYDRA_RUNS
        if OmegaConf.select(composed.hydra, name) != OmegaConf.select(usual.hydra, name)
    ]
    for name in ("launcher", "sweeper"):
        target = str(composed.hydra[name].get("_target_"))
        if not target.startswith(("hydra._internal.core_plugins.", "hydra_plugins.")):
            problems.append(f"hydra.{name}._target_: target {target!r} is not on the allow-list")
    if problems:
        raise ConfigError(*problems)


def shadowing(folders: Sequence[Path]) -> list[str]:
    """Files of the user's that Hydra would pass over, because ours of the same name comes first."""
    return [
        f"--config-dir: {option.path} has the name of {group}={name}, which is ours and would win; rename it"
        for folder in folders
        for group in catalog.GROUPS
        for name, option in catalog.in_folder(folder, group).items()
        if name in catalog.in_folder(catalog.builtin(), group)
    ]


def assign(composed: DictConfig, item: Override) -> list[str]:
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
    try:
        with open_dict(composed):
            OmegaConf.update(composed, key, item.value(), merge=False)
    except OmegaConfBaseException as error:
        return [f"{key}: {str(error).splitlines()[0]}"]
    return []


def _meant(composed: DictConfig, above: Sequence[str], part: str) -> str:
    """The key a misspelt one was probably meant to be: among its neighbours, else anywhere."""
    here = OmegaConf.select(composed, ".".join(above)) if above else composed
    prefix = "".join(f"{name}." for name in above)
    near = did_you_mean(part, [str(k) for k in here if k != "hydra" and not str(k).startswith("_")])
    if near:
        return near.replace("mean ", f"mean {prefix}")
    if part in PATH_LIKE and above == ["data"]:
        own = [f"data.{name}" for name in here if name in (*PATH_LIKE, "name")]
        if own:
            return f"; data={composed.hydra.runtime.choices.data} finds its files by {' and '.join(own)}"
    if len(above) == 1 and (able := [o.name for o in catalog.options(above[0]).values() if part in o.meanings()]):
        return f"; {above[0]}={able[0]} has it"
    deep = {str(k): f"{g}.{k}" for g in BUILT for k in composed[g] if not str(k).startswith("_")}
    guess = did_you_mean(part, deep)
    for name, full in deep.items():
        guess = guess.replace(f"mean {name}?", f"mean {full}?")
    return guess


def plain(composed: DictConfig) -> tuple[dict[str, Any], dict[str, Any], list[str]]:
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
