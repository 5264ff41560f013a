"""Parsed YAML files: package, defaults list, keys with values and comments.

Everything is read from the parsed tree, so that comments, blank lines, indentation and quoting do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from trainer.config import yaml_limits
from trainer.config.yaml_description import find_description
from trainer.utils.errors import ConfigError

_DEFAULTS_KEY = "defaults"
_BYTE_ORDER_MARK = "\ufeff"
"""Some editors begin a file with it; the parser does not count it as a character."""
_DOCUMENT_START = "---"
_NULLS = ("", "~", "null", "Null", "NULL")
_FLOW_SIGNS = r"[\[\]{},]"
_ANCHOR = r"^((?:!\S*\s+)*)&\S+\s*"
_NESTED_REFERENCE = r"[\s\[{,][&*][^\s,\]}]"
_HEADER = r"#+\s*@package\s+(\S+)"
_HEADER_START = r"#+\s*@package(?!\S)"
"""Patterns are compiled where they are used first: ``train list`` needs none of them."""


class _NodeLoader(getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """YAML loader that does not resolve the types of nodes, which would take most of the time."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        return ""

    def descend_resolver(self, current_node: Any, current_index: Any) -> None: ...

    def ascend_resolver(self) -> None: ...


class DefaultItem(NamedTuple):
    """Item of a defaults list: ``[override] [optional] group[@package]: names``, or ``name`` without a group.

    Attributes:
        group: None for an item without a group.
        names: Names of the options; empty for null.
        package: Package after ``@``, if any.
        is_override: Whether the item overrides a choice of another file.
    """

    group: str | None
    names: tuple[str, ...]
    package: str | None = None
    is_override: bool = False

    @property
    def is_self(self) -> bool:
        """Return whether the item is ``_self_``, the position of the file's own keys."""
        return self.group is None and self.names == ("_self_",)


class YamlEntry(NamedTuple):
    """Key of a file, with its value.

    Attributes:
        path: Key path inside the file.
        key: Node of the key.
        node: Node of the value.
        file: File that contains it.
    """

    path: tuple[str, ...]
    key: yaml.Node
    node: Any
    file: YamlFile

    @property
    def is_section(self) -> bool:
        """Return whether the value is a mapping."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def value(self) -> str | None:
        """Value without quotes; None if it is not a scalar."""
        return self.node.value if isinstance(self.node, yaml.ScalarNode) else None

    @property
    def is_missing(self) -> bool:
        """Return whether the value is ``core.types.MISSING``; written out, because that import would take too long."""
        return self.value == "???"

    @property
    def text(self) -> str:
        """Value as written, on one line."""
        return _format_node(self.node, self.file.text)

    @property
    def meaning(self) -> str:
        """Comment next to the key."""
        return self.file.meanings.get(id(self.key), "")


class YamlFile:
    """Parsed YAML file.

    Attributes:
        text: Text of the file, without a byte-order mark.
        root: Root node; None for an empty or invalid file.
        package: Package in Hydra's header; None without a header.
        problem: Reason why the file cannot be parsed; it then has no keys.
    """

    def __init__(self, text: str, root: yaml.Node | None, package: str | None = None, problem: str | None = None):
        self.text = text
        self.root = root
        self.package = package
        self.problem = problem

    @property
    def description(self) -> str:
        """First line of the first comment block that is neither a directive of Hydra nor a license notice."""
        return find_description(self.text)

    @cached_property
    def defaults(self) -> tuple[DefaultItem, ...]:
        """Items of the defaults list."""
        pairs = self.root.value if isinstance(self.root, yaml.MappingNode) else ()
        return tuple(_parse_defaults(next((value for key, value in pairs if key.value == _DEFAULTS_KEY), None)))

    def get_value(self, key: str) -> str | None:
        """Return the value of a top-level key, without quotes; None if there is none or it is not a scalar."""
        pairs = _flatten_pairs(self.root) if isinstance(self.root, yaml.MappingNode) else []
        node = next((value for name, value in pairs if name.value == key), None)
        return node.value if isinstance(node, yaml.ScalarNode) else None

    @cached_property
    def entries(self) -> tuple[YamlEntry, ...]:
        """Keys of the file, nested ones after their parents, without the defaults list."""
        pairs = _flatten_pairs(self.root) if isinstance(self.root, yaml.MappingNode) else []
        return tuple(self._walk_pairs([pair for pair in pairs if pair[0].value != _DEFAULTS_KEY], ()))

    @cached_property
    def meanings(self) -> dict[int, str]:
        """Comment of each key, by the ``id`` of the key's node."""
        from trainer.config.yaml_comments import find_comments, match_comments  # here, because a list prints none

        return match_comments(self.root, find_comments(self.root, self.text)) if self.root else {}

    def _walk_pairs(self, pairs: list[tuple[Any, Any]], parents: tuple[str, ...]) -> Iterator[YamlEntry]:
        for key, node in pairs:
            path = (*parents, str(key.value))
            yield YamlEntry(path, key, node, self)
            if isinstance(node, yaml.MappingNode):
                yield from self._walk_pairs(_flatten_pairs(node), path)


def parse_file(path: Path, *, is_trusted: bool = False) -> YamlFile:
    """Parse a file; the result is cached until the file changes.

    Args:
        path: YAML file.
        is_trusted: Skip the check of its size with aliases expanded, for built-in files.
    """
    try:
        stat = path.stat()
    except OSError as error:
        return YamlFile("", None, problem=f"{path}: cannot be read: {error.strerror}")
    return _parse_file(path, is_trusted, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=4096)
def _parse_file(path: Path, is_trusted: bool, *_: int) -> YamlFile:
    """Parse a file, cached by its modification time and size, which are the other arguments."""
    text, package = "", None
    try:
        text = yaml_limits.read_text(path) if is_trusted else yaml_limits.read_yaml(path)
        package, text = read_package(text), text.removeprefix(_BYTE_ORDER_MARK)
        return YamlFile(text, yaml.compose(text, Loader=_NodeLoader), package)
    except ConfigError as error:
        return YamlFile(text, None, package, str(error))
    except yaml.YAMLError as error:
        return YamlFile(text, None, package, f"{path}: not YAML: {' '.join(str(error).split())[:300]}")


def read_package(text: str) -> str | None:
    """Return the package in the header of a file, ``# @package NAME``.

    The header is a line of the comments above the first key, at any distance from the top, so that a license may stand
    above it. Hydra itself reads it only above every other comment. The last of several headers counts, as in Hydra.

    Args:
        text: Text of the file.

    Returns:
        None if there is no header.
    """
    if "@package" not in text:
        return None
    matches = (re.fullmatch(_HEADER, line) for line in _get_leading_lines(text))
    return next((match[1] for match in reversed([*matches]) if match), None)


def find_header_problem(text: str) -> str | None:
    """Return why a comment that looks like a header is not one: it is malformed, or below the first key.

    Args:
        text: Text of the file.

    Returns:
        None if there is no such comment.
    """
    if "@package" not in text:
        return None
    lines = _get_leading_lines(text)
    for line in lines:
        if re.match(_HEADER_START, line) and not re.fullmatch(_HEADER, line):
            return f"{line!r} is not a header; write '# @package NAME'"
    if read_package(text) is None:
        for line in map(str.strip, text.splitlines()[len(lines) :]):
            if re.fullmatch(_HEADER, line):
                return f"{line!r} is below a key, where it is not read; move it up"
    return None


def _get_leading_lines(text: str) -> list[str]:
    """Return the stripped lines above the first YAML content: comments, blank lines, directives and ``---``."""
    lines: list[str] = []
    for line in map(str.strip, text.removeprefix(_BYTE_ORDER_MARK).splitlines()):
        if line and line[0] not in "#%" and line.partition(" #")[0].rstrip() != _DOCUMENT_START:
            break
        lines.append(line)
    return lines


def _parse_defaults(items: Any) -> Iterator[DefaultItem]:
    for item in items.value if isinstance(items, yaml.SequenceNode) else ():
        if isinstance(item, yaml.ScalarNode):
            path, at, package = item.value.partition("@")
            yield DefaultItem(None, (path,), package if at else None)
        elif isinstance(item, yaml.MappingNode) and len(item.value) == 1:
            key, value = item.value[0]
            head, at, package = str(key.value).partition("@")
            *keywords, group = head.split(" ")
            nodes = value.value if isinstance(value, yaml.SequenceNode) else [value]
            names = tuple(str(node.value) for node in nodes if not _is_plain(node, _NULLS))
            yield DefaultItem(group, names, package.partition(":")[0] if at else None, "override" in keywords)


def _is_plain(node: yaml.Node, values: tuple[str, ...]) -> bool:
    """Return whether a node is an unquoted scalar with one of some values."""
    return isinstance(node, yaml.ScalarNode) and not node.style and node.value in values


def _flatten_pairs(node: yaml.MappingNode) -> list[tuple[Any, Any]]:
    """Return the pairs of a mapping that have scalar keys, those merged by ``<<`` first."""
    merged: dict[str, tuple[Any, Any]] = {}
    own_pairs = [pair for pair in node.value if isinstance(pair[0], yaml.ScalarNode)]
    for _, value in (pair for pair in own_pairs if _is_plain(pair[0], ("<<",))):
        sources = value.value if isinstance(value, yaml.SequenceNode) else [value]
        for source in (item for item in reversed(sources) if isinstance(item, yaml.MappingNode) and item is not node):
            merged |= {key.value: (key, item) for key, item in _flatten_pairs(source)}
    merged |= {key.value: (key, value) for key, value in own_pairs if not _is_plain(key, ("<<",))}
    return list(merged.values())


def _format_node(node: Any, text: str, *, is_nested: bool = False) -> str:
    """Format a value as written if that is one line, or else in flow style with quotes where needed.

    Anchors are removed, and aliases are replaced by their values.

    Args:
        node: Node of the value.
        text: Text of the file.
        is_nested: Whether the value is an item of another one.
    """
    start, end = node.start_mark, node.end_mark
    value_text = re.sub(_ANCHOR, r"\1", text[start.index : end.index])
    if isinstance(node, yaml.ScalarNode):
        if start.line == end.line and not (is_nested and not node.style and re.search(_FLOW_SIGNS, node.value)):
            return value_text
        import json  # rarely needed, and slow to import for a list of options

        return json.dumps(node.value, ensure_ascii=False)
    if start.line == end.line and node.flow_style and not re.search(_NESTED_REFERENCE, value_text):
        return value_text
    if isinstance(node, yaml.SequenceNode):
        return f"[{', '.join(_format_node(item, text, is_nested=True) for item in node.value)}]"
    items = (f"{key.value}: {_format_node(item, text, is_nested=True)}" for key, item in _flatten_pairs(node))
    return f"{{{', '.join(items)}}}"
