"""What there is to choose from, read from the YAML files: no Hydra, no torch, a few milliseconds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from trainer.config import defaults_list
from trainer.config.defaults_list import PACKAGE_DIR, get_builtin_dir
from trainer.utils.suggest import did_you_mean

if TYPE_CHECKING:
    from trainer.config.defaults_list import Layer, ResolvedDefaults
    from trainer.config.yaml_file import YamlEntry, YamlFile

GROUPS = ("model", "data", "task", "augment", "optimizer", "scheduler", "logger", "callbacks", "experiment")


@dataclass(frozen=True)
class ConfigOption:
    """One YAML file of a group: a model, a data set, an optimizer, ...

    folders: the user's, where files that it inherits from may be besides its own folder and ours.
    """

    group: str
    name: str
    path: Path
    config_dirs: tuple[Path, ...] = ()

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
        """The files it consists of, those it inherits from in front, as Hydra merges them."""
        return self._resolved.layers

    @cached_property
    def _settings(self) -> dict[tuple[str, ...], list[YamlEntry]]:
        """For each place in the configuration what the files set there: the last gives the value."""
        settings: dict[tuple[str, ...], list[YamlEntry]] = {}
        for key_path, entry in (pair for layer in self.layers for pair in layer.entries.items()):
            entries = settings.setdefault(key_path, [])
            if entries and entry.is_missing:  # which takes the place of no value, in OmegaConf's merge
                entries.insert(0, entry)
                continue
            if entries and not (entries[-1].is_section and entry.is_section):
                settings = {
                    key: item for key, item in settings.items() if key == key_path or key[: len(key_path)] != key_path
                }
            entries.append(entry)
        return settings

    @property
    def problem(self) -> str | None:
        """Why its file is not YAML; it then has no keys."""
        return self._file.problem

    @property
    def description(self) -> str:
        """The first comment that is not an instruction to Hydra, nor about a license."""
        return self._file.description

    @property
    def _key_prefix(self) -> tuple[str, ...]:
        """Where its keys are: in its group, or below its own name in a group of several objects."""
        entry_path = (self.group, self.name)
        return entry_path if (*entry_path, "_target_") in self._settings else (self.group,) if self.group else ()

    @property
    def class_path(self) -> str | None:
        entries = self._settings.get((*self._key_prefix, "_target_"))
        return entries[-1].value if entries else None

    @property
    def chosen_options(self) -> dict[str, str]:
        """The options of other groups that it chooses, by group."""
        return self._resolved.chosen_options

    @property
    def task_name(self) -> str | None:
        """The task this option chooses, if it chooses one."""
        return self.chosen_options.get("task")

    @property
    def shapes_line(self) -> str:
        """Names and shapes, as its class states them; found by text, as a list must be quick."""
        module, _, name = (self.class_path or "").rpartition(".")
        return _find_shapes(module).get(name, "") if module.startswith("trainer.") else ""

    def keys_set_in(self, group: str) -> set[str]:
        """The keys of another group that this option sets, which an option of that group must have."""
        return {key_path[1] for key_path in self._settings if key_path[0] == group and len(key_path) > 1}

    def list_other_overrides(self) -> list[tuple[str, str, str]]:
        """(key, value as written, meaning or nothing) of what it sets outside its group, the options it chooses too."""
        return [
            *((group, name, "") for group, name in self.chosen_options.items()),
            *(
                (".".join(key_path), entries[-1].text, _get_meaning(entries))
                for key_path, entries in self._settings.items()
                if key_path[0] != self.group
                and (len(key_path) == 2 or (len(key_path) == 1 and not entries[-1].is_section))
            ),
        ]

    @property
    def global_keys(self) -> set[str]:
        """The keys it sets that belong to no group, such as ``epochs``."""
        return set().union(*(layer.global_keys for layer in self.layers))

    def find_entries(self) -> list[tuple[str, str, str]]:
        """(key, value as written, meaning) of the keys of its group; those without a group for the flat keys."""
        return [
            (key_path[-1], entries[-1].text, _get_meaning(entries))
            for key_path, entries in self._settings.items()
            if key_path[:-1] == self._key_prefix and key_path[-1] != "_target_"
        ]

    def get_descriptions(self) -> dict[str, str]:
        """Each key of its group with the comment beside its value."""
        return {key: meaning for key, _, meaning in self.find_entries() if meaning}


def _get_meaning(entries: Sequence[YamlEntry]) -> str:
    """The comment of the last file that has one."""
    return next((entry.meaning for entry in reversed(entries) if entry.meaning), "")


@lru_cache(maxsize=512)
def _find_shapes(module: str) -> dict[str, str]:
    """The ``shapes`` of each class of a module of ours that states them in one line."""
    path = PACKAGE_DIR.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        return {}
    parts = re.split(r"^class (\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    matches = {
        name: re.search(r'^    shapes = "(.*)"$', body, re.MULTILINE)
        for name, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    return {name: match.group(1) for name, match in matches.items() if match}


def list_options(group: str, config_dirs: Sequence[Path] = ()) -> dict[str, ConfigOption]:
    """The options of a group by name, ours and those in the user's folders; the first of a name wins, as in Hydra."""
    options: dict[str, ConfigOption] = {}
    for directory in (get_builtin_dir(), *config_dirs):
        options = list_dir_options(directory, group, config_dirs) | options
    return dict(sorted(options.items()))


def list_dir_options(directory: Path, group: str, config_dirs: Sequence[Path] = ()) -> dict[str, ConfigOption]:
    """The options of a group in one folder; ``folders`` are those of the user, which they may inherit from."""
    files = sorted(path for path in (directory / group).glob("*.yaml") if path.is_file())
    return {path.stem: ConfigOption(group, path.stem, path, tuple(config_dirs)) for path in files}


def describe_unknown_option(group: str, name: str, known: Iterable[str]) -> str:
    """That a group has no such option, with the nearest and all there are."""
    return f"{group} {name!r} not found{did_you_mean(name, known) or ';'} choices: {', '.join(known) or 'none yet'}"


def list_groups(config_dirs: Iterable[Path] = ()) -> set[str]:
    """The names of the groups there are."""
    return {
        path.name for directory in (*config_dirs, get_builtin_dir()) for path in directory.iterdir() if path.is_dir()
    } - {"hydra"}


def get_default_option(group: str) -> str:
    """The option of a group that is taken where nobody chooses."""
    items = defaults_list.parse_file(get_builtin_dir() / "train.yaml").defaults
    (name,) = next(item.names for item in items if item.group == group)
    return name
