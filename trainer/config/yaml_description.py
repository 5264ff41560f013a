"""Description of an option: the first comment of its YAML file."""

from __future__ import annotations

from collections.abc import Iterator

_LICENSE_PHRASES = (
    *("copyright", "(c)", "spdx-", "licensed under", "licenced under", "all rights reserved", "the license "),
    *("the licence ", "/licenses/", "/licences/", "public license", "public licence", "permission is hereby granted"),
    *("redistribution", '"as is"', "'as is'", "warranty"),
)
"""Phrases of license notices, in lower case."""


def find_description(text: str) -> str:
    """Return the first line of the first comment block that is neither a directive of Hydra nor a license notice.

    Args:
        text: Text of the file.
    """
    first_line = ""
    for block in _iter_comment_blocks(text):
        first_line = first_line or block[0]
        while len(block) > 1 and block[0].lower().startswith(("spdx-", "copyright")):
            del block[0]
        notice = f"{' '.join(block).lower()} "
        if not any(phrase in notice for phrase in _LICENSE_PHRASES):
            return block[0]
    return first_line


def _iter_comment_blocks(text: str) -> Iterator[list[str]]:
    """Iterate over blocks of consecutive comment lines, without their signs and without directives."""
    block: list[str] = []
    for line in text.splitlines():
        words = line.strip()
        words = words.lstrip("#").strip() if words.startswith("#") else ""
        if words and not words.startswith("@"):
            block.append(words)
        elif block:
            yield block
            block = []
    if block:
        yield block
