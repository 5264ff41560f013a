"""Files with the ranges of a sweep or search, ``conf/sweep/NAME.yaml``, chosen by ``sweep=NAME``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from trainer.config import registry
from trainer.config.override_parser import parse_overrides
from trainer.utils.errors import ConfigError

SWEEP_GROUP = "sweep"


def expand_sweep_files(words: Sequence[str], config_dirs: Sequence[Path] = ()) -> list[str]:
    """Replace ``sweep=NAME`` in a command line by the overrides of that file, except those of keys that it sets itself.

    Args:
        words: Overrides of a command line.
        config_dirs: Directories with YAML files of the user.

    Raises:
        ConfigError: There is no such file, or it does not consist of keys with values.
    """
    names = [word.partition("=")[2] for word in words if word.partition("=")[0] == SWEEP_GROUP]
    rest = [word for word in words if word.partition("=")[0] != SWEEP_GROUP]
    if not names:
        return rest
    if len(names) > 1:
        raise ConfigError(f"{SWEEP_GROUP}: one file at a time; {', '.join(names)} given")
    options = registry.list_options(SWEEP_GROUP, config_dirs)
    if names[0] not in options:
        raise ConfigError(registry.describe_unknown_option(SWEEP_GROUP, names[0], options))
    own_keys = {item.key_or_group for item in parse_overrides(rest, config_dirs)}
    ranges = _read_file(options[names[0]].path)
    return [*(word for word in ranges if word.partition("=")[0].lstrip("+") not in own_keys), *rest]


def _read_file(path: Path) -> list[str]:
    """Read the overrides of a file.

    Raises:
        ConfigError: It is no mapping of keys to values.
    """
    from trainer.config import defaults_list

    file = defaults_list.parse_file(path)
    entries = [entry for entry in file.entries if not entry.is_section]
    if file.problem or not entries or file.defaults:
        reason = file.problem or "each line is KEY: VALUES, as on the command line: optimizer.lr: 1e-3,1e-2"
        raise ConfigError(f"{SWEEP_GROUP}: {path}: {reason}")
    texts = ((".".join(entry.path), entry.text if entry.value is None else entry.value) for entry in entries)
    return [f"{key}={text}" for key, text in texts]
