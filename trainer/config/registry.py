"""Registry of options, read from the YAML files in a few milliseconds, without Hydra and torch.

Its classes are not dataclasses, whose module imports ``inspect``: that would take a tenth of ``train list``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config import defaults_list
from trainer.config.defaults_list import PACKAGE_DIR, get_builtin_dir
from trainer.utils.suggest import did_you_mean

if TYPE_CHECKING:
    from trainer.config.defaults_list import Layer, ResolvedDefaults
    from trainer.config.yaml_file import YamlEntry, YamlFile

OBJECT_GROUPS = ("model", "data", "task", "augment", "optimizer", "scheduler")
"""Groups that describe one object each."""
LIST_GROUPS = ("logger", "callbacks")
"""Groups that describe any number of objects, each an entry with a name."""
_CLASS_OR_SHAPES = re.compile(r'^(?:class (\w+)|    shapes = "(.*)"$)', re.MULTILINE)
GROUPS = (*OBJECT_GROUPS, *LIST_GROUPS, "experiment")


class ConfigOption:
    """Option of a group, such as a model, a data set or an optimizer, defined by a YAML file.

    Attributes:
        group: Its group; empty for the global configuration, ``train.yaml``.
        name: File name without suffix.
        path: YAML file.
        config_dirs: Directories of the user that parent files may be in, besides its own and the built-in one.
    """

    def __init__(self, group: str, name: str, path: Path, config_dirs: tuple[Path, ...] = ()):
        self.group = group
        self.name = name
        self.path = path
        self.config_dirs = config_dirs

    @cached_property
    def _file(self) -> YamlFile:
        return defaults_list.parse_file(self.path)

    @cached_property
    def _resolved(self) -> ResolvedDefaults:
        return defaults_list.resolve_defaults(
            self.group,
            self.name,
            self._file,
            (*self.config_dirs, self.path.parents[1] if self.group else self.path.parent),
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Files of the option in Hydra's merge order, parents first."""
        return self._resolved.layers

    @cached_property
    def _entries_by_path(self) -> dict[tuple[str, ...], list[YamlEntry]]:
        """Entries of all files by key path; the last entry of a path has the value."""
        entries_by_path: dict[tuple[str, ...], list[YamlEntry]] = {}
        for key_path, entry in (pair for layer in self.layers for pair in layer.entries.items()):
            entries = entries_by_path.setdefault(key_path, [])
            if entries and entry.is_missing:  # in OmegaConf's merge, ??? replaces no value
                entries.insert(0, entry)
                continue
            if entries and not (entries[-1].is_section and entry.is_section):
                # A value replaces a section with all keys below it.
                entries_by_path = {
                    key: item
                    for key, item in entries_by_path.items()
                    if key == key_path or key[: len(key_path)] != key_path
                }
            entries.append(entry)
        return entries_by_path

    @property
    def problem(self) -> str | None:
        """Reason why its file cannot be parsed, if so; it then has no keys."""
        return self._file.problem

    @property
    def description(self) -> str:
        """First comment of its file that is neither a directive of Hydra nor a license notice."""
        return self._file.description

    @property
    def _key_prefix(self) -> tuple[str, ...]:
        """Key path of its keys: the group, or the entry of its name in a list group."""
        entry_path = (self.group, self.name)
        if (*entry_path, "_target_") in self._entries_by_path:
            return entry_path
        return (self.group,) if self.group else ()

    @property
    def class_path(self) -> str | None:
        """Class path in ``_target_``."""
        first_layer, *other_layers = self.layers
        # Without the entries of all keys of such an option, as most are, "train list" is 4 ms faster.
        is_simple = not other_layers and first_layer.package in (self.group, f"{self.group}.{self.name}")
        if is_simple and (value := first_layer.file.get_value("_target_")) is not None:
            return value
        entries = self._entries_by_path.get((*self._key_prefix, "_target_"))
        return entries[-1].value if entries else None

    @property
    def chosen_options(self) -> dict[str, str]:
        """Options that it chooses for other groups, by group."""
        return self._resolved.chosen_options

    @property
    def task_name(self) -> str | None:
        """Task that it chooses, if any."""
        return self.chosen_options.get("task")

    @property
    def shapes_line(self) -> str:
        """``shapes`` of its class; found by a text search, which is fast enough for ``train list``."""
        module, _, name = (self.class_path or "").rpartition(".")
        return _find_shapes(module).get(name, "") if module.startswith("trainer.") else ""

    def keys_set_in(self, group: str) -> set[str]:
        """Return the keys of a group that it sets, such as ``lr`` of ``optimizer``."""
        return {key_path[1] for key_path in self._entries_by_path if key_path[0] == group and len(key_path) > 1}

    def list_other_overrides(self) -> list[tuple[str, str, str]]:
        """Return ``(key, value as written, description)`` of everything it sets outside its group.

        The options that it chooses for other groups come first.
        """
        return [
            *((group, name, "") for group, name in self.chosen_options.items()),
            *(
                (".".join(key_path), entries[-1].text, _get_meaning(entries))
                for key_path, entries in self._entries_by_path.items()
                if key_path[0] != self.group
                and (len(key_path) == 2 or (len(key_path) == 1 and not entries[-1].is_section))
            ),
        ]

    @property
    def global_keys(self) -> set[str]:
        """Global keys that it sets, such as ``epochs``."""
        return set().union(*(layer.global_keys for layer in self.layers))

    def find_entries(self) -> list[tuple[str, str, str]]:
        """Return ``(key, value as written, description)`` of its own keys."""
        return [
            (key_path[-1], entries[-1].text, _get_meaning(entries))
            for key_path, entries in self._entries_by_path.items()
            if key_path[:-1] == self._key_prefix and key_path[-1] != "_target_"
        ]

    def get_descriptions(self) -> dict[str, str]:
        """Return the descriptions of its keys, which are the comments next to their values."""
        return {key: meaning for key, _, meaning in self.find_entries() if meaning}


def _get_meaning(entries: Sequence[YamlEntry]) -> str:
    """Return the comment of the last file that has one for a key."""
    return next((entry.meaning for entry in reversed(entries) if entry.meaning), "")


@lru_cache(maxsize=512)
def _find_shapes(module: str) -> dict[str, str]:
    """Return the ``shapes`` of the classes of a built-in module, by class name."""
    path = PACKAGE_DIR.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        return {}
    # One pass over the lines of interest: ``train list`` reads a hundred modules.
    shapes: dict[str, str] = {}
    class_name = ""
    for name, line in _CLASS_OR_SHAPES.findall(path.read_text(encoding="utf-8")):
        if name:
            class_name = name
        else:
            shapes.setdefault(class_name, line)
    return shapes


def list_options(group: str, config_dirs: Sequence[Path] = ()) -> dict[str, ConfigOption]:
    """Return the options of a group by name, in alphabetical order; built-in options take precedence, as in Hydra.

    Args:
        group: Name of the group.
        config_dirs: Directories with YAML files of the user.
    """
    options: dict[str, ConfigOption] = {}
    for directory in (get_builtin_dir(), *config_dirs):
        options = list_dir_options(directory, group, config_dirs) | options
    return dict(sorted(options.items()))


def list_dir_options(directory: Path, group: str, config_dirs: Sequence[Path] = ()) -> dict[str, ConfigOption]:
    """Return the options of a group in one directory, by name.

    Args:
        directory: Built-in or user directory.
        group: Name of the group.
        config_dirs: Directories of the user that the options may inherit from.
    """
    files = sorted(path for path in (directory / group).glob("*.yaml") if path.is_file())
    return {path.stem: ConfigOption(group, path.stem, path, tuple(config_dirs)) for path in files}


def describe_unknown_option(group: str, name: str, known_names: Iterable[str]) -> str:
    """Return a message for an option that does not exist, with the nearest and all known names.

    Args:
        group: Name of the group.
        name: Name of the missing option.
        known_names: Names of the options of the group.
    """
    hint = did_you_mean(name, known_names) or ";"
    return f"{group} {name!r} not found{hint} choices: {', '.join(known_names) or 'none yet'}"


def list_groups(config_dirs: Iterable[Path] = ()) -> set[str]:
    """Return the names of all groups, without the files of ranges in ``sweep``.

    Args:
        config_dirs: Directories with YAML files of the user, which may have further groups.
    """
    return {
        path.name for directory in (*config_dirs, get_builtin_dir()) for path in directory.iterdir() if path.is_dir()
    } - {"hydra", "sweep"}


def get_default_option(group: str) -> str:
    """Return the default option of a group."""
    items = defaults_list.parse_file(get_builtin_dir() / "train.yaml").defaults
    (name,) = next(item.names for item in items if item.group == group)
    return name
