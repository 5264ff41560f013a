"""Command-line flags, separated from overrides."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from trainer.utils.errors import ConfigError
from trainer.utils.paths import describe_missing_path
from trainer.utils.suggest import did_you_mean

CONFIG_DIR_FLAG = "--config-dir"
OUTPUT_PREFIX = "output="
FLAG_CHOICES = {
    "--cfg": ("job", "hydra", "all"),
    "--info": ("all", "config", "defaults", "defaults-tree", "plugins", "searchpath"),
}
"""Flags with a fixed set of values; ``--info`` may have none."""
SHORT_FLAGS = {
    "-cd": CONFIG_DIR_FLAG,
    "-c": "--cfg",
    "-p": "--package",
    "-i": "--info",
    "-sc": "--shell-completion",
    "-m": "--multirun",
}
HYDRA_FLAGS = frozenset({"--cfg", "--package", "--info", "--resolve", "--hydra-help", "--shell-completion"})
EXCLUSIVE_FLAGS = ("--multirun", "--cfg", "--info", "--shell-completion", "--hydra-help")
"""Flags that each select an action, of which there can be one."""
KNOWN_FLAGS = frozenset({CONFIG_DIR_FLAG, "--multirun", "--version", *HYDRA_FLAGS})


def split_args(arguments: Sequence[str]) -> tuple[list[str], list[Path], set[str]]:
    """Split arguments into overrides and flags.

    Args:
        arguments: Words of the command line after the subcommand.

    Returns:
        ``(overrides, config directories, flags by their long names)``.

    Raises:
        ConfigError: A flag is unknown, flags are incompatible, or a directory does not exist.
    """
    words = list(_parse_flags(arguments))
    flags = {flag for flag, _ in words if flag}
    exclusive = [flag for flag in EXCLUSIVE_FLAGS if flag in flags]
    if len(exclusive) > 1:
        raise ConfigError(f"{exclusive[0]} and {exclusive[1]}: these are different actions; keep one")
    if {"--resolve", "--package"} & flags and "--cfg" not in flags:
        raise ConfigError("--resolve and --package are options of --cfg; add --cfg job")
    overrides = [value for flag, value in words if not flag]
    return overrides, [_parse_config_dir(value) for flag, value in words if flag == CONFIG_DIR_FLAG], flags


def split_output(words: Sequence[str]) -> tuple[str | None, list[str]]:
    """Split the argument ``output=PATH`` of a subcommand from overrides.

    Args:
        words: Overrides and arguments.

    Returns:
        The path, or None; and the other words.
    """
    paths = [word.removeprefix(OUTPUT_PREFIX) for word in words if word.startswith(OUTPUT_PREFIX)]
    return (paths[-1] if paths else None), [word for word in words if not word.startswith(OUTPUT_PREFIX)]


def make_hydra_args(arguments: Sequence[str]) -> list[str]:
    """Return the flags to pass to Hydra in its own notation, without ``--config-dir``.

    Args:
        arguments: Words of the command line.
    """
    words = ((flag, value) for flag, value in _parse_flags(arguments) if flag and flag != CONFIG_DIR_FLAG)
    return [f"{flag}={value}" if value else flag for flag, value in words]


def check_standalone_flag(overrides: Sequence[str], config_dirs: Sequence[Path], flags: set[str]) -> None:
    """Raise ConfigError for arguments that ``--hydra-help`` or ``--shell-completion`` would ignore.

    Args:
        overrides: Overrides of the command line.
        config_dirs: Directories given by ``--config-dir``.
        flags: Flags by their long names; one of the two is among them.
    """
    if "--hydra-help" in flags:
        is_invalid = bool(overrides)
        usage = "train --hydra-help"
    else:
        shells = {
            f"{action}={shell}" for action in ("install", "uninstall", "query") for shell in ("bash", "zsh", "fish")
        }
        is_invalid = len(overrides) != 1 or overrides[0] not in shells
        usage = 'eval "$(train --shell-completion install=bash)"; or install=zsh, install=fish, uninstall=...'
    if is_invalid or config_dirs:
        raise ConfigError(f"this flag takes no other arguments: {usage}")


def _parse_flags(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield each word as (long name of a flag, its value or ""), or ("", override)."""
    rest = list(arguments)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            yield "", word
            continue
        name, equals, value = word.partition("=")
        flag = SHORT_FLAGS.get(name, name)
        if flag not in KNOWN_FLAGS:
            suggestion = did_you_mean(name, {*KNOWN_FLAGS, *SHORT_FLAGS})
            raise ConfigError(f"{name}: unknown option{suggestion or ';'} train --help lists them")
        has_next_value = rest and (flag != "--info" or rest[0] in FLAG_CHOICES["--info"])
        if not equals and flag in (CONFIG_DIR_FLAG, "--cfg", "--package", "--info") and has_next_value:
            value = rest.pop(0)
        elif value and flag not in (CONFIG_DIR_FLAG, "--cfg", "--package", "--info"):
            raise ConfigError(f"{name}: takes no value; {value!r} given")
        if flag == "--info":
            value = value or "all"
        allowed = FLAG_CHOICES.get(flag)
        if allowed and value not in allowed:
            raise ConfigError(f"{name}: {value!r} given; one of {', '.join(allowed)}")
        if flag == "--package" and not value:
            raise ConfigError(f"{name}: takes a key of the configuration, as in {name} model")
        yield flag, value


def _parse_config_dir(name: str) -> Path:
    if not name:
        raise ConfigError("--config-dir: takes a directory of YAML files")
    try:
        path = Path(name).expanduser().absolute()
    except RuntimeError as error:  # ~user of an unknown user
        raise ConfigError(f"--config-dir: {name!r} is not a directory: {error}") from error
    if "\0" in name or not os.path.isdir(path):  # not Path.is_dir, which raises for a name that is too long
        raise ConfigError(f"--config-dir: {describe_missing_path(path)}")
    return path
