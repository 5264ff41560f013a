"""The size of a YAML text with its aliases and interpolations expanded, computed without expanding them.

A few hundred letters can stand for billions: ten lines, each of ten aliases of the line before. What would grow so is
refused before it is composed, whoever wrote it.
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
"""libyaml's where this PyYAML has it: ten times as fast."""
MAX_CHARS = 200_000
MAX_VALUES = 20_000
"""The largest configuration there is here has a few hundred."""
MAX_DEPTH = 40
MAX_INTERPOLATED_SIZE = 1_000_000
"""Letters and values that interpolations may come to."""
MAX_NESTED_INTERPOLATIONS = 16
"""Interpolations whose target is itself computed, ``${a.${b}}``: too few to grow, whatever they stand for."""

_INTERPOLATION = re.compile(r"\$\{\s*(?:oc\.select\s*:|oc\.dict\.\w+\s*:)?\s*([\w.\[\]/-]+)\s*[,}]")
_NESTED_INTERPOLATION = re.compile(r"\$\{[^{}]*\$\{")


def read_text(path: Path) -> str:
    """The text of a YAML file. Raises ConfigError for one that cannot be read, or is not UTF-8."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 (byte {error.start}); save it as UTF-8") from error


def read_yaml(path: Path) -> str:
    """The text of a YAML file of configuration.

    Raises ConfigError for one that cannot be read, is not UTF-8, or comes to more than any configuration does.
    """
    if not os.path.isfile(path):
        raise ConfigError(f"{path}: not a file")
    if (size := os.path.getsize(path)) > MAX_CHARS:
        raise ConfigError(f"{path}: {size:,} bytes; a configuration has at most {MAX_CHARS:,}")
    text = read_text(path)
    check_text(text, str(path))
    return text


def check_text(text: str, name: str) -> None:
    """Raises ConfigError for a text that is not YAML, or whose aliases or depth come to more than is sane."""
    anchors: dict[str, int | None] = {}
    counts, open_anchors = [0], []
    try:
        for event in yaml.parse(text, Loader=LOADER):
            if isinstance(event, yaml.AliasEvent):
                count = anchors.get(event.anchor, 0)
                if count is None:
                    raise ConfigError(f"{name}: *{event.anchor} holds itself")
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
                    f"{name}: comes to more than {MAX_VALUES:,} values, aliases filled in, or is nested more than"
                    f" {MAX_DEPTH} deep; no configuration is"
                )
    except yaml.YAMLError as error:
        raise ConfigError(f"{name}: not YAML: {' '.join(str(error).split())[:300]}") from error


def check_interpolations(tree: Any) -> None:
    """Raises ConfigError for a tree, interpolations as written, that would grow beyond measure when it is resolved."""
    try:
        _ExpandedSizes(tree).check_size()
    except RecursionError:
        raise ConfigError("the configuration's interpolations ${...} follow one another without end") from None


class _ExpandedSizes:
    """The expanded size of each node of a tree."""

    def __init__(self, tree: Any):
        self.tree = tree
        self.num_nested = 0
        self._sizes: dict[str, int | None] = {}

    def check_size(self) -> None:
        size = self.measure_node("", self.tree)
        if size > MAX_INTERPOLATED_SIZE or self.num_nested > MAX_NESTED_INTERPOLATIONS:
            raise ConfigError("the configuration's interpolations ${...} come to more than any configuration holds")

    def measure_node(self, path: str, node: Any) -> int:
        """A node's weight; a circle weighs nothing here, and is told of when it is resolved."""
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
        """The key a reference means: from the root, or with dots in front from where it stands."""
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
