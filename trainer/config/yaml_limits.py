"""Limits on the size of a YAML text with aliases and interpolations expanded, computed without expanding them.

A few hundred characters can expand to billions: ten lines, each with ten aliases of the previous line. Such files are
rejected before they are composed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from trainer.utils.errors import ConfigError

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""YAML loader; that of libyaml is ten times as fast, if PyYAML has it."""
MAX_CHARS = 200_000
MAX_VALUES = 20_000
"""Maximum number of values; the largest built-in configuration has a few hundred."""
MAX_DEPTH = 40
MAX_INTERPOLATED_SIZE = 1_000_000
"""Maximum number of characters and values after interpolation."""
MAX_NESTED_INTERPOLATIONS = 16
"""Maximum number of interpolations with a computed target, ``${a.${b}}``; their size cannot be computed."""

_INTERPOLATION = re.compile(r"\$\{\s*(?:oc\.select\s*:|oc\.dict\.\w+\s*:)?\s*([\w.\[\]/-]+)\s*[,}]")
_NESTED_INTERPOLATION = re.compile(r"\$\{[^{}]*\$\{")


def read_text(path: Path) -> str:
    """Return the text of a YAML file.

    Raises:
        ConfigError: The file cannot be read or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error


def read_yaml(path: Path) -> str:
    """Return the text of a YAML file after checking its size.

    Raises:
        ConfigError: The file cannot be read, is not UTF-8 or not YAML, or exceeds the limits of a configuration.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: not a file")
    if (size := os.path.getsize(path)) > MAX_CHARS:
        raise ConfigError(f"{path}: {size:,} bytes; a configuration has at most {MAX_CHARS:,}")
    text = read_text(path)
    check_text(text, str(path))
    return text


def check_text(text: str, name: str) -> None:
    """Check the size and depth of a YAML text with its aliases expanded.

    Args:
        text: YAML text.
        name: Name of the file, for messages.

    Raises:
        ConfigError: The text is not YAML or exceeds the limits.
    """
    anchors: dict[str, int | None] = {}
    counts, open_anchors = [0], []
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.AliasEvent):
                count = anchors.get(event.anchor, 0)
                if count is None:
                    raise ConfigError(f"{name}: *{event.anchor} contains itself")
                counts[-1] += count
            elif isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.ScalarEvent):
                anchors[event.anchor] = None
                open_anchors.append(event.anchor)
                counts.append(1)
            elif isinstance(event, yaml.CollectionEndEvent):
                count, anchor = counts.pop(), open_anchors.pop()
                counts[-1] += count
                anchors[anchor] = count
            elif isinstance(event, yaml.ScalarEvent):
                counts[-1] += 1
                anchors[event.anchor] = 1
            if sum(counts) > MAX_VALUES or len(counts) > MAX_DEPTH:
                raise ConfigError(
                    f"{name}: more than {MAX_VALUES:,} values with aliases expanded, or nested more than {MAX_DEPTH}"
                    " deep; no configuration is that large"
                )
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())[:300]}") from error


def check_interpolations(tree: Any) -> None:
    """Check the size of a configuration with its interpolations expanded.

    Args:
        tree: Configuration with interpolations as written.

    Raises:
        ConfigError: It exceeds the limits.
    """
    try:
        _ExpandedSizes(tree).check_size()
    except RecursionError:
        raise ConfigError("the configuration's interpolations ${...} are nested without end") from None


class _ExpandedSizes:
    """Expanded sizes of the nodes of a configuration, in characters and values."""

    def __init__(self, tree: Any):
        self.tree = tree
        self.num_nested = 0
        self._sizes: dict[str, int | None] = {}

    def check_size(self) -> None:
        """Raise ConfigError if the configuration is too large."""
        size = self.measure_node("", self.tree)
        if size > MAX_INTERPOLATED_SIZE or self.num_nested > MAX_NESTED_INTERPOLATIONS:
            raise ConfigError("the configuration's interpolations ${...} expand to more than any configuration needs")

    def measure_node(self, path: str, node: Any) -> int:
        """Return the expanded size of a node.

        A cyclic reference counts as 0; it is reported when the configuration is resolved.

        Args:
            path: Dotted key of the node.
            node: Value of the node.
        """
        if path in self._sizes:
            return self._sizes[path] or 0
        self._sizes[path] = None
        size = min(1 + sum(self._measure_parts(path, node)), 100 * MAX_INTERPOLATED_SIZE)
        self._sizes[path] = size
        return size

    def _measure_parts(self, path: str, node: Any) -> Iterator[int]:
        if isinstance(node, Mapping):
            yield from (self.measure_node(f"{path}.{key}".lstrip("."), item) for key, item in node.items())
        elif isinstance(node, list):
            yield from (self.measure_node(f"{path}.{number}".lstrip("."), item) for number, item in enumerate(node))
        elif isinstance(node, str) and "${" in node:
            yield len(node)
            self.num_nested += len(_NESTED_INTERPOLATION.findall(node))
            for reference in _INTERPOLATION.findall(node):
                target = self._resolve_key(path, reference)
                yield self.measure_node(target, self._select_node(target))

    def _resolve_key(self, path: str, reference: str) -> str:
        """Return the absolute key of a reference; one with leading dots is relative to the node."""
        key = re.sub(r"\[(\w+)\]", r".\1", reference)
        levels_up = len(key) - len(key.lstrip("."))
        if not levels_up:
            return key
        parents = path.split(".")[:-levels_up] if path else []
        return ".".join([*parents, *filter(None, key.lstrip(".").split("."))])

    def _select_node(self, key: str) -> Any:
        node: Any = self.tree
        for part in key.split(".") if key else ():
            if isinstance(node, Mapping):
                node = node.get(part)
            elif isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            else:
                return None
        return node
