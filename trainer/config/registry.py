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
    folders: tuple[Path, ...] = ()

    @cached_property
    def _file(self) -> YamlFile:
        return defaults_list.parse_file(self.path)

    @cached_property
    def _resolved(self) -> ResolvedDefaults:
        return defaults_list.resolve_defaults(
            self.group, self.name, self._file, (*self.folders, self.path.parents[1] if self.group else self.path.parent)
        )

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The files it consists of, those it inherits from in front, as Hydra merges them."""
        return self._resolved.layers

    @cached_property
    def _settings(self) -> dict[tuple[str, ...], list[YamlEntry]]:
        """For each place in the configuration what the files set there: the last gives the value."""
        found: dict[tuple[str, ...], list[YamlEntry]] = {}
        for place, entry in (pair for layer in self.layers for pair in layer.entries.items()):
            above = found.setdefault(place, [])
            if above and entry.is_missing:  # which takes the place of no value, in OmegaConf's merge
                above.insert(0, entry)
                continue
            if above and not (above[-1].is_section and entry.is_section):
                found = {key: item for key, item in found.items() if key == place or key[: len(place)] != place}
            above.append(entry)
        return found

    @property
    def problem(self) -> str | None:
        """Why its file is not YAML; it then has no keys."""
        return self._file.problem

    @property
    def description(self) -> str:
        """The first comment that is not an instruction to Hydra, nor about a license."""
        return self._file.description

    @property
    def _place(self) -> tuple[str, ...]:
        """Where its keys are: in its group, or below its own name in a group of several objects."""
        own = (self.group, self.name)
        return own if (*own, "_target_") in self._settings else (self.group,) if self.group else ()

    @property
    def class_path(self) -> str | None:
        found = self._settings.get((*self._place, "_target_"))
        return found[-1].value if found else None

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
        return {place[1] for place in self._settings if place[0] == group and len(place) > 1}

    def other_overrides(self) -> list[tuple[str, str, str]]:
        """(key, value as written, meaning or nothing) of what it sets outside its group, the options it chooses too."""
        return [
            *((group, name, "") for group, name in self.chosen_options.items()),
            *(
                (".".join(place), entries[-1].text, _find_meaning(entries))
                for place, entries in self._settings.items()
                if place[0] != self.group and (len(place) == 2 or (len(place) == 1 and not entries[-1].is_section))
            ),
        ]

    @property
    def global_keys(self) -> set[str]:
        """The keys it sets that belong to no group, such as ``epochs``."""
        return set().union(*(layer.global_keys for layer in self.layers))

    def find_entries(self) -> list[tuple[str, str, str]]:
        """(key, value as written, meaning) of the keys of its group; those without a group for the flat keys."""
        return [
            (place[-1], entries[-1].text, _find_meaning(entries))
            for place, entries in self._settings.items()
            if place[:-1] == self._place and place[-1] != "_target_"
        ]

    def get_descriptions(self) -> dict[str, str]:
        """Each key of its group with the comment beside its value."""
        return {key: meaning for key, _, meaning in self.find_entries() if meaning}


def _find_meaning(entries: Sequence[YamlEntry]) -> str:
    """The comment of the last file that has one."""
    return next((entry.meaning for entry in reversed(entries) if entry.meaning), "")


@lru_cache(maxsize=512)
def _find_shapes(module: str) -> dict[str, str]:
    """The ``shapes`` of each class of a module of ours that states them in one line."""
    path = PACKAGE_DIR.parent.joinpath(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        return {}
    found = re.split(r"^class (\w+)", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    stated = {
        name: re.search(r'^    shapes = "(.*)"$', body, re.MULTILINE)
        for name, body in zip(found[1::2], found[2::2], strict=True)
    }
    return {name: match.group(1) for name, match in stated.items() if match}


def list_options(group: str, folders: Sequence[Path] = ()) -> dict[str, ConfigOption]:
    """The options of a group by name, ours and those in the user's folders; the first of a name wins, as in Hydra."""
    found: dict[str, ConfigOption] = {}
    for folder in (get_builtin_dir(), *folders):
        found = list_dir_options(folder, group, folders) | found
    return dict(sorted(found.items()))


def list_dir_options(folder: Path, group: str, folders: Sequence[Path] = ()) -> dict[str, ConfigOption]:
    """The options of a group in one folder; ``folders`` are those of the user, which they may inherit from."""
    files = sorted(path for path in (folder / group).glob("*.yaml") if path.is_file())
    return {path.stem: ConfigOption(group, path.stem, path, tuple(folders)) for path in files}


def describe_unknown_option(group: str, name: str, known: Iterable[str]) -> str:
    """That a group has no such option, with the nearest and all there are."""
    return f"{group} {name!r} not found{did_you_mean(name, known) or ';'} choices: {', '.join(known) or 'none yet'}"


def list_groups(folders: Iterable[Path] = ()) -> set[str]:
    """The names of the groups there are."""
    return {path.name for folder in (*folders, get_builtin_dir()) for path in folder.iterdir() if path.is_dir()} - {
        "hydra"
    }


def default_option(group: str) -> str:
    """The option of a group that is taken where nobody chooses."""
    items = defaults_list.parse_file(get_builtin_dir() / "train.yaml").defaults
    (name,) = next(item.names for item in items if item.group == group)
    return name
