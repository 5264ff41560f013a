"""Resolution of defaults lists by Hydra's rules: the files of an option and the package of each.

Hydra checks these lists when it composes. This module reads them without Hydra, in a millisecond, and skips items that
Hydra would reject.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from trainer.config.yaml_file import DefaultItem, YamlEntry, YamlFile

PACKAGE_DIR = Path(__file__).parents[1]
_GLOBAL = "_global_"


@cache
def get_builtin_dir() -> Path:
    """Return the directory of the built-in YAML files: inside an installed package, next to it in a checkout."""
    packaged_dir = PACKAGE_DIR / "conf"
    return packaged_dir if packaged_dir.is_dir() else PACKAGE_DIR.parent / "conf"


def parse_file(path: Path) -> YamlFile:
    """Parse a YAML file; the parser is imported when the first file is read."""
    from trainer.config import yaml_file

    return yaml_file.parse_file(path, is_trusted=str(path).startswith(f"{get_builtin_dir()}{os.sep}"))


class Layer:
    """File of an option, with the package that its keys are merged into.

    Attributes:
        file: Parsed file.
        config_path: Path below a config directory, without suffix, such as ``model/lstm``.
        package: Such as ``model``; empty for the root of the configuration.
    """

    def __init__(self, file: YamlFile, config_path: str, package: str):
        self.file = file
        self.config_path = config_path
        self.package = package

    @cached_property
    def entries(self) -> dict[tuple[str, ...], YamlEntry]:
        """Entries of the file by their key path in the configuration."""
        prefix = tuple(self.package.split(".")) if self.package else ()
        return {(*prefix, *entry.path): entry for entry in self.file.entries}

    @property
    def chosen_options(self) -> dict[str, str]:
        """Options that the file itself chooses for top-level groups; the first choice of a group wins."""
        options: dict[str, str] = {}
        base = os.path.dirname(self.config_path)
        for item in self.file.defaults:
            if item.is_override and len(item.names) == 1 and item.group:
                group = _join_group(item.group, base)
                if _get_item_package(item, None, self.package, base) == group.replace("/", "."):
                    options.setdefault(group, item.names[0])
        return options

    def keys_set_in(self, group: str) -> set[str]:
        """Return the keys of a group that the file sets."""
        return {key_path[1] for key_path in self.entries if key_path[0] == group and len(key_path) > 1}

    @property
    def global_keys(self) -> set[str]:
        """Top-level keys that the file sets and that are not sections, such as ``epochs``."""
        return {key_path[0] for key_path, entry in self.entries.items() if len(key_path) == 1 and not entry.is_section}


class ResolvedDefaults(NamedTuple):
    """Resolved defaults list of an option.

    Attributes:
        layers: Files of the option in merge order.
        chosen_options: Options that it chooses for other groups; the outermost choice wins, as in Hydra.
    """

    layers: tuple[Layer, ...]
    chosen_options: dict[str, str]


def resolve_defaults(group: str, name: str, root: YamlFile, config_dirs: Sequence[Path]) -> ResolvedDefaults:
    """Resolve the defaults list of an option.

    Args:
        group: Group of the option; empty for a file that is used without its defaults list.
        name: Name of the option.
        root: File of the option.
        config_dirs: Directories of the user, searched after the built-in one.
    """
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
    """Recursive expansion of a defaults list; collects layers in reverse merge order, as Hydra does."""

    def __init__(self, config_dirs: Sequence[Path]):
        self.config_dirs = config_dirs
        self.choices: dict[tuple[str, str], tuple[str, ...]] = {}
        self.layers: list[Layer] = []

    def expand_file(self, file: YamlFile, config_path: str, package: str, ancestors: tuple[str, ...]) -> None:
        """Add the layers of a file.

        Args:
            file: Parsed file.
            config_path: Its path below a config directory.
            package: Package that its keys are merged into.
            ancestors: Config paths of the files that include it; none of them is read again.
        """
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
        """Return the first file of a name on the search path; paths with ``..`` or interpolations are not followed."""
        if ".." in config_path or "$" in config_path:
            return None
        candidates = (config_dir / f"{config_path.removesuffix('.yaml')}.yaml" for config_dir in self.config_dirs)
        path = next((candidate for candidate in candidates if candidate.is_file()), None)
        return parse_file(path) if path else None


def _join_group(name: str, base: str) -> str:
    return name[1:] if name.startswith("/") else f"{base}/{name}".lstrip("/")


def _get_header_package(package: str | None) -> str | None:
    """Return the absolute package of a header; a header always counts from the root."""
    return package if package is None or package.startswith(_GLOBAL) else f"{_GLOBAL}.{package}"


def _get_item_package(item: DefaultItem, header: str | None, parent: str, base: str) -> str:
    """Return the package of a defaults item: its own, or that of the file's header, or its relative group.

    Args:
        item: Item of the defaults list.
        header: Package in the header of the included file.
        parent: Package of the file that contains the list.
        base: Group of that file.
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
    """Return the part of a package after the last ``_global_``."""
    return package.rpartition(_GLOBAL)[2].lstrip(".") if _GLOBAL in package else package
