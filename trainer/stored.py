"""The configuration of a run that was started before, read back from its folder without importing torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from trainer import catalog, folder
from trainer.checks import BUILT, check, declare
from trainer.config import NEUTRAL, Config
from trainer.errors import ConfigError, nearest_folder
from trainer.overrides import parse
from trainer.settings import Settings
from trainer.types import fits


def named(verb: str, arguments: Sequence[str]) -> Config:
    """The configuration of the one run that a verb is to be done to.

    Raises ConfigError for no folder or several, and as ``load`` does.
    """
    if len(arguments) != 1:
        raise ConfigError(
            f"train {verb} takes one run folder, as in: train {verb} outputs/2026-01-31/12-00-00-lstm-adding"
        )
    return load(Path(arguments[0]))


def load(path: Path) -> Config:
    """The configuration of a run folder, checked like any other: it is data, not something to trust.

    Raises ConfigError if there is none or it no longer fits.
    """
    file, results = path / folder.CONFIG, folder.read_results(path)
    if not results or not file.is_file():
        raise ConfigError(
            f"{path.absolute()} is not a run folder; the nearest folder that exists is {nearest_folder(path)}"
        )
    try:
        loaded = OmegaConf.load(file)
        raw, tree = (OmegaConf.to_container(loaded, resolve=resolve) for resolve in (False, True))
    except (YAMLError, OmegaConfBaseException, OSError, ValueError) as error:
        raise ConfigError(f"{file}: cannot be read: {' '.join(str(error).split())[:300]}") from error
    names, overrides = results.get("options"), results.get("overrides")
    said = fits(names, dict[str, str]) and set(names) == {*BUILT} and fits(overrides, list[str])  # type: ignore[arg-type]
    if not isinstance(raw, dict) or not isinstance(tree, dict) or not said:
        raise ConfigError(f"{path}: {folder.CONFIG} and {folder.RESULTS} are not those of a run")
    # A neutral key that was not there yet when the run was made changes nothing of it.
    current = OmegaConf.to_container(OmegaConf.load(catalog.builtin() / "train.yaml"))
    assert isinstance(current, dict)
    later = {key: current[key] for key in NEUTRAL & current.keys() - tree.keys()}
    raw, tree = raw | later, tree | later
    problems = declare(tree) + check(tree, names)  # type: ignore[arg-type]
    if problems:
        raise ConfigError(*problems)
    flat = Settings(**{key: tree[key] for key in Settings.__dataclass_fields__})
    return Config(tree, raw, names, overrides, str(path), str(path), flat)  # type: ignore[arg-type]


def drift(asked: Config, kept: Config) -> list[str]:
    """What a command line asks for that differs from the run it wants to go on with."""
    problems = []
    for key in (item.key_or_group for item in parse(asked.overrides)):
        before, now = (
            config.names[key] if key in config.names else OmegaConf.select(OmegaConf.create(dict(config.tree)), key)
            for config in (kept, asked)
        )
        if key not in NEUTRAL and before != now:
            problems.append(f"{key}: the run has {before!r}, {now!r} given")
    return problems


def adapted(kept: Config, asked: Config) -> Config:
    """A stored run with the neutral keys a command line sets: another device, the data in another place, more talk."""
    given = {item.key_or_group for item in parse(asked.overrides)} & NEUTRAL
    new = {key: asked.tree[key] for key in given}

    def change(node: Mapping[str, Any]) -> dict[str, Any]:
        repeats = {key for key in given & node.keys() if node[key] == kept.tree[key]}
        deeper = {key: change(value) for key, value in node.items() if isinstance(value, Mapping)}
        return {**node, **deeper, **{key: new[key] for key in repeats}}

    return replace(kept, tree=change(kept.tree), settings=replace(kept.settings, **new))
