"""Text of a user's (names of classes, columns and files, overrides) made safe for a terminal, a log or Markdown."""

from __future__ import annotations

import logging
import re

UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Control characters, breaks and changes of direction, and halves of characters, which cannot be encoded."""
MARKDOWN = re.compile(r"[\\|*`\[\]]")


def printable(text: str, keep: str = "\n\t") -> str:
    """The text with every character that would steer a terminal written out, as in ``\\x1b``."""
    return UNSAFE.sub(lambda found: found[0] if found[0] in keep else _code(found[0]), text)


def _code(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def shorten(text: str, most: int = 24) -> str:
    """The text, or as much of it as there is room for in a picture."""
    return text if len(text) <= most else text[: most - 1] + "…"


def markdown(text: str) -> str:
    """The text as a cell of a Markdown table that shows it as it is."""
    return MARKDOWN.sub(r"\\\g<0>", printable(text, keep="")).replace("<", "&lt;")


class PrintableFilter(logging.Filter):
    """Makes messages of a log printable."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = printable(record.getMessage()), ()
        return True
