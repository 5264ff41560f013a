"""The files that an option consists of: those that its defaults list names, found and placed by Hydra's rules.

What Hydra itself composes is checked when it composes; this reads the same lists without Hydra, in a millisecond, and
passes over what Hydra would refuse.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.config.yaml_file import DefaultItem, YamlEntry, YamlFile

PACKAGE_DIR = Path(__file__).parents[1]
_GLOBAL = "_global_"


@cache
def get_builtin_dir() -> Path:
    """The folder of our own configuration: inside an installed package, beside it in a checkout."""
    inside = PACKAGE_DIR / "conf"
    return inside if inside.is_dir() else PACKAGE_DIR.parent / "conf"


def parse_file(path: Path) -> YamlFile:
    """A YAML file; the parser is imported where the first one is read."""
    from trainer.config import yaml_file

    return yaml_file.parse_file(path, is_trusted=str(path).startswith(f"{get_builtin_dir()}{os.sep}"))


@dataclass(frozen=True)
class Layer:
    """A file and the package, ``model`` or nothing for the root, that its keys are placed in."""

    file: YamlFile
    config_path: str
    package: str

    @cached_property
    def entries(self) -> dict[tuple[str, ...], YamlEntry]:
        """Each key of the file by its place in the configuration."""
        above = tuple(self.package.split(".")) if self.package else ()
        return {(*above, *entry.path): entry for entry in self.file.entries}

    @property
    def chosen_options(self) -> dict[str, str]:
        """The options that the file itself chooses for groups of the root; the first of two choices counts."""
        found: dict[str, str] = {}
        base = os.path.dirname(self.config_path)
        for item in self.file.defaults:
            if item.is_override and len(item.names) == 1 and item.group:
                group = _join_group(item.group, base)
                if _place_item(item, None, self.package, base) == group.replace("/", "."):
                    found.setdefault(group, item.names[0])
        return found

    def keys_set_in(self, group: str) -> set[str]:
        """The keys of a group that the file sets."""
        return {place[1] for place in self.entries if place[0] == group and len(place) > 1}

    @property
    def global_keys(self) -> set[str]:
        """The keys it sets that are no sections, such as ``epochs``."""
        return {place[0] for place, entry in self.entries.items() if len(place) == 1 and not entry.is_section}


@dataclass(frozen=True)
class ResolvedDefaults:
    """layers: the files of an option in the order in which they are merged. chosen_options: by group, what it chooses
    for others; of several choices the outermost counts, as in Hydra."""

    layers: tuple[Layer, ...]
    chosen_options: dict[str, str]


def resolve_defaults(group: str, name: str, root: YamlFile, folders: Sequence[Path]) -> ResolvedDefaults:
    """What an option of a group, whose file is ``root``, consists of; without a group, the file alone."""
    if not group:
        return ResolvedDefaults((Layer(root, name, ""),), {})
    package = _place_header(root.package)
    found = _Expansion((get_builtin_dir(), *folders))
    found.expand_file(root, f"{group}/{name}", group if package is None else _cut_global(package), ())
    chosen = {
        group: names[0]
        for (group, package), names in found.choices.items()
        if package == group.replace("/", ".") and len(names) == 1
    }
    return ResolvedDefaults(tuple(reversed(found.layers)), chosen)


class _Expansion:
    """The layers of one option, the last first: Hydra's order, in which the first choice of several counts."""

    def __init__(self, folders: Sequence[Path]):
        self.folders = folders
        self.choices: dict[tuple[str, str], tuple[str, ...]] = {}
        self.layers: list[Layer] = []

    def expand_file(self, file: YamlFile, config_path: str, package: str, above: tuple[str, ...]) -> None:
        """Adds the layers of a file; ``above`` are those that lead to it, none of which is read again."""
        base = os.path.dirname(config_path)
        for item in (item for item in file.defaults if item.is_override and item.group):
            key = _join_group(item.group or "", base), _place_item(item, None, package, base)
            self.choices.setdefault(key, item.names)
        items = [item for item in file.defaults if not item.is_override]
        if not any(item.is_self for item in items):
            self.layers.append(Layer(file, config_path, package))
        for item in reversed(items):
            if item.is_self:
                self.layers.append(Layer(file, config_path, package))
            elif item.group is None:
                self._expand_name(item, _join_group(item.names[0], base), package, (*above, config_path))
            else:
                group = _join_group(item.group, base)
                names = self.choices.get((group, _place_item(item, None, package, base)), item.names)
                for name in reversed(names):
                    self._expand_name(item, f"{group}/{name}", package, (*above, config_path))

    def _expand_name(self, item: DefaultItem, config_path: str, parent: str, above: tuple[str, ...]) -> None:
        found = self._find_file(config_path)
        if found is not None and config_path not in above:
            package = _place_item(item, found.package, parent, os.path.dirname(above[-1]))
            self.expand_file(found, config_path, package, above)

    def _find_file(self, config_path: str) -> YamlFile | None:
        """The first of the name on the search path; a path that leaves its folder, or is computed, is not followed."""
        if ".." in config_path or "$" in config_path:
            return None
        places = (folder / f"{config_path.removesuffix('.yaml')}.yaml" for folder in self.folders)
        path = next((place for place in places if place.is_file()), None)
        return parse_file(path) if path else None


def _join_group(name: str, base: str) -> str:
    return name[1:] if name.startswith("/") else f"{base}/{name}".lstrip("/")


def _place_header(package: str | None) -> str | None:
    """The package of a header, which is always one from the root."""
    return package if package is None or package.startswith(_GLOBAL) else f"{_GLOBAL}.{package}"


def _place_item(item: DefaultItem, header: str | None, parent: str, base: str) -> str:
    """The package of a defaults item: the one it names, else that of the file's header, else its relative group.

    ``parent`` is the package of the file that holds the list, ``base`` the group of that file.
    """
    name = item.group if item.group is not None else os.path.dirname(item.names[0])
    package = item.package if item.package is not None else _place_header(header)
    if package is None:
        package = name.lstrip("/").replace("/", ".")
    elif package == "_here_":
        package = ""
    elif item.package is not None and "_group_" in package:
        group = _join_group(name, base) if item.group is not None else os.path.dirname(_join_group(item.names[0], base))
        package = f"{_GLOBAL}.{package.replace('_group_', group.replace('/', '.'))}"
    return _cut_global(".".join(part for part in (parent, package) if part))


def _cut_global(package: str) -> str:
    """What stands behind the last ``_global_``."""
    return package.rpartition(_GLOBAL)[2].lstrip(".") if _GLOBAL in package else package
