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
    packaged_dir = PACKAGE_DIR / "conf"
    return packaged_dir if packaged_dir.is_dir() else PACKAGE_DIR.parent / "conf"


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
        prefix = tuple(self.package.split(".")) if self.package else ()
        return {(*prefix, *entry.path): entry for entry in self.file.entries}

    @property
    def chosen_options(self) -> dict[str, str]:
        """The options that the file itself chooses for groups of the root; the first of two choices counts."""
        options: dict[str, str] = {}
        base = os.path.dirname(self.config_path)
        for item in self.file.defaults:
            if item.is_override and len(item.names) == 1 and item.group:
                group = _join_group(item.group, base)
                if _get_item_package(item, None, self.package, base) == group.replace("/", "."):
                    options.setdefault(group, item.names[0])
        return options

    def keys_set_in(self, group: str) -> set[str]:
        """The keys of a group that the file sets."""
        return {key_path[1] for key_path in self.entries if key_path[0] == group and len(key_path) > 1}

    @property
    def global_keys(self) -> set[str]:
        """The keys it sets that are no sections, such as ``epochs``."""
        return {key_path[0] for key_path, entry in self.entries.items() if len(key_path) == 1 and not entry.is_section}


@dataclass(frozen=True)
class ResolvedDefaults:
    """layers: the files of an option in the order in which they are merged. chosen_options: by group, what it chooses
    for others; of several choices the outermost counts, as in Hydra."""

    layers: tuple[Layer, ...]
    chosen_options: dict[str, str]


def resolve_defaults(group: str, name: str, root: YamlFile, config_dirs: Sequence[Path]) -> ResolvedDefaults:
    """What an option of a group, whose file is ``root``, consists of; without a group, the file alone."""
    if not group:
        return ResolvedDefaults((Layer(root, name, ""),), {})
    package = _get_header_package(root.package)
    expansion = _Expansion((get_builtin_dir(), *config_dirs))
    expansion.expand_file(root, f"{group}/{name}", group if package is None else _strip_global(package), ())
    chosen_options = {
        group: names[0]
        for (group, package), names in expansion.choices.items()
        if package == group.replace("/", ".") and len(names) == 1
    }
    return ResolvedDefaults(tuple(reversed(expansion.layers)), chosen_options)


class _Expansion:
    """The layers of one option, the last first: Hydra's order, in which the first choice of several counts."""

    def __init__(self, config_dirs: Sequence[Path]):
        self.config_dirs = config_dirs
        self.choices: dict[tuple[str, str], tuple[str, ...]] = {}
        self.layers: list[Layer] = []

    def expand_file(self, file: YamlFile, config_path: str, package: str, ancestors: tuple[str, ...]) -> None:
        """Adds the layers of a file; ``above`` are those that lead to it, none of which is read again."""
        base = os.path.dirname(config_path)
        for item in (item for item in file.defaults if item.is_override and item.group):
            key = _join_group(item.group or "", base), _get_item_package(item, None, package, base)
            self.choices.setdefault(key, item.names)
        items = [item for item in file.defaults if not item.is_override]
        if not any(item.is_self for item in items):
            self.layers.append(Layer(file, config_path, package))
        for item in reversed(items):
            if item.is_self:
                self.layers.append(Layer(file, config_path, package))
            elif item.group is None:
                self._expand_name(item, _join_group(item.names[0], base), package, (*ancestors, config_path))
            else:
                group = _join_group(item.group, base)
                names = self.choices.get((group, _get_item_package(item, None, package, base)), item.names)
                for name in reversed(names):
                    self._expand_name(item, f"{group}/{name}", package, (*ancestors, config_path))

    def _expand_name(self, item: DefaultItem, config_path: str, parent: str, ancestors: tuple[str, ...]) -> None:
        file = self._find_file(config_path)
        if file is not None and config_path not in ancestors:
            package = _get_item_package(item, file.package, parent, os.path.dirname(ancestors[-1]))
            self.expand_file(file, config_path, package, ancestors)

    def _find_file(self, config_path: str) -> YamlFile | None:
        """The first of the name on the search path; a path that leaves its folder, or is computed, is not followed."""
        if ".." in config_path or "$" in config_path:
            return None
        candidates = (config_dir / f"{config_path.removesuffix('.yaml')}.yaml" for config_dir in self.config_dirs)
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        return parse_file(path) if path else None


def _join_group(name: str, base: str) -> str:
    return name[1:] if name.startswith("/") else f"{base}/{name}".lstrip("/")


def _get_header_package(package: str | None) -> str | None:
    """The package of a header, which is always one from the root."""
    return package if package is None or package.startswith(_GLOBAL) else f"{_GLOBAL}.{package}"


def _get_item_package(item: DefaultItem, header: str | None, parent: str, base: str) -> str:
    """The package of a defaults item: the one it names, else that of the file's header, else its relative group.

    ``parent`` is the package of the file that holds the list, ``base`` the group of that file.
    """
    name = item.group if item.group is not None else os.path.dirname(item.names[0])
    package = item.package if item.package is not None else _get_header_package(header)
    if package is None:
        package = name.lstrip("/").replace("/", ".")
    elif package == "_here_":
        package = ""
    elif item.package is not None and "_group_" in package:
        group = _join_group(name, base) if item.group is not None else os.path.dirname(_join_group(item.names[0], base))
        package = f"{_GLOBAL}.{package.replace('_group_', group.replace('/', '.'))}"
    return _strip_global(".".join(part for part in (parent, package) if part))


def _strip_global(package: str) -> str:
    """What stands behind the last ``_global_``."""
    return package.rpartition(_GLOBAL)[2].lstrip(".") if _GLOBAL in package else package
