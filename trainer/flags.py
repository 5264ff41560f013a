"""The options of Hydra's that the command takes, told from overrides."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.errors import ConfigError, did_you_mean, nearest_folder

WITH_VALUE = frozenset({"--config-dir", "-cd", "--cfg", "-c", "--package", "-p"})
HYDRAS_OWN = frozenset(
    {
        *("--cfg", "-c", "--package", "-p", "--info", "-i", "--resolve", "--hydra-help", "--version"),
        *("--shell-completion", "-sc"),
    }
)


def split(arguments: Sequence[str]) -> tuple[list[str], list[Path], set[str]]:
    """(overrides, the user's own YAML folders, the flags given).

    Raises ConfigError for a flag that neither we nor Hydra know, or a folder that is not there.
    """
    known = {"-m", "--multirun", *WITH_VALUE, *HYDRAS_OWN}
    overrides: list[str] = []
    folders: list[Path] = []
    flags: set[str] = set()
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        flag, _, value = word.partition("=")
        if flag not in known:
            raise ConfigError(f"{flag}: unknown option{did_you_mean(flag, known) or ';'} train --help lists them")
        flags.add(flag)
        if flag in WITH_VALUE and not value:
            value = rest.pop(0) if rest else ""
        if flag in ("--config-dir", "-cd"):
            folders.append(_folder(value))
    return overrides, folders, flags


def _folder(name: str) -> Path:
    if not name:
        raise ConfigError("--config-dir: takes a folder of your YAML files")
    path = Path(name).expanduser().absolute()
    there = nearest_folder(path)
    if there != path:
        raise ConfigError(f"--config-dir: no folder {path}; the nearest that exists is {there}")
    return path
