"""Comments of a YAML text and the keys that they describe, located by the positions that the parser reports."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import yaml

_COMMENT = re.compile(r"(?<!\S)#[^\n]*")


def find_comments(root: yaml.Node, text: str) -> dict[int, tuple[int, str]]:
    """Return ``(position, text)`` of the comment on each line that has one.

    A comment begins with ``#`` after whitespace, outside of every scalar.

    Args:
        root: Parsed document.
        text: Text that it was parsed from.
    """
    spans = sorted(_find_scalar_spans(root, text))
    gaps = zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)], strict=True)
    comments: dict[int, tuple[int, str]] = {}
    line, counted_until = 0, 0
    for start, end in gaps:
        for match in _COMMENT.finditer(text, start, max(start, end)):
            line += text.count("\n", counted_until, match.start())
            counted_until = match.start()
            comments[line] = (match.start(), match.group().lstrip("#").strip())
    return comments


def match_comments(root: yaml.Node, comments: dict[int, tuple[int, str]]) -> dict[int, str]:
    """Return the comment of each key, by the ``id`` of the key's node.

    A comment belongs to the key whose value ends last before it on its line, or else to the last key on that line:
    next to ``a: [1, 2]``, after the closing bracket of a list over several lines, or above its items.

    Args:
        root: Parsed document.
        comments: Result of ``find_comments``.
    """
    ends: dict[int, tuple[int, int]] = {}
    starts: dict[int, tuple[int, int]] = {}
    for key, value in _find_pairs(root):
        line, position = key.start_mark.line, key.start_mark.index
        starts[line] = max(starts.get(line, (-1, 0)), (position, id(key)))
        # The position of an alias's value is that of its anchor, which may come before the key.
        if _is_inline(value) and value.start_mark.index >= key.end_mark.index:
            line, position = value.end_mark.line, value.end_mark.index
            ends[line] = max(ends.get(line, (-1, 0)), (position, id(key)))
    meanings: dict[int, str] = {}
    for line, (position, text) in comments.items():
        end, start = ends.get(line, (-1, 0)), starts.get(line, (-1, 0))
        # In a flow mapping such as `{a: 1, b:`, a key that comes after the last complete value is nearer.
        nearest = end if end[0] >= start[0] else start
        if 0 <= nearest[0] <= position:
            meanings.setdefault(nearest[1], text)
    return meanings


def _is_inline(node: yaml.Node) -> bool:
    """Return whether a node's end mark is the end of its text; that of a block is the start of the next node."""
    if isinstance(node, yaml.ScalarNode):
        return node.style not in ("|", ">")
    return bool(node.flow_style)


def _find_nodes(node: Any, visited: set[int]) -> Iterator[Any]:
    if id(node) in visited:
        return
    visited.add(id(node))
    yield node
    if isinstance(node, yaml.MappingNode):
        for pair in node.value:
            for item in pair:
                yield from _find_nodes(item, visited)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            yield from _find_nodes(item, visited)


def _find_pairs(root: yaml.Node) -> Iterator[tuple[Any, Any]]:
    for node in _find_nodes(root, set()):
        if isinstance(node, yaml.MappingNode):
            yield from node.value


def _find_scalar_spans(root: yaml.Node, text: str) -> Iterator[tuple[int, int]]:
    for node in _find_nodes(root, set()):
        if isinstance(node, yaml.ScalarNode):
            start, end = node.start_mark.index, node.end_mark.index
            if node.style in ("|", ">"):  # a comment may follow the indicator on the same line
                start = min(end, (text.find("\n", start) + 1) or end)
            yield start, end
