"""Formatting of text for terminals, tables and plots; names, values and paths may contain control characters."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable

_CONTROL_CHARS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters except newline and tab
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # marks that change the direction or end a line
    "\ud800-\udfff]"  # surrogates: bytes of a file name that are not UTF-8
)

_MARKDOWN_CHARS = re.compile(r"[\\|*`\[\]]")


def escape_control_chars(text: str, *, one_line: bool = False) -> str:
    r"""Escape control characters, as ``\x1b``, so that a terminal does not interpret them.

    Args:
        text: Any text.
        one_line: Escape newlines and tabs too, for a path or a name in a table cell.
    """
    escaped = _CONTROL_CHARS.sub(_escape_match, text)
    return re.sub(r"[\n\t]", _escape_match, escaped) if one_line else escaped


def escape_unencodable(text: str, encoding: str | None = None) -> str:
    """Escape characters that an encoding cannot represent.

    Args:
        text: Any text.
        encoding: Name of the encoding; default: that of the standard output.
    """
    codec = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(codec, "backslashreplace").decode(codec)


def shorten_repr(value: object, max_length: int = 100) -> str:
    """Return the printable ``repr`` of a value, shortened in the middle.

    Args:
        value: Any value.
        max_length: Maximum number of characters.
    """
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to write integers of thousands of digits
        text = f"a very long {type(value).__name__}"
    text = escape_control_chars(text, one_line=True)
    half = (max_length - 5) // 2
    return text if len(text) <= max_length else f"{text[:half]} ... {text[-half:]}"


def shorten_label(text: str, max_length: int = 24) -> str:
    """Shorten a label of a plot.

    Args:
        text: The label.
        max_length: Maximum number of characters.
    """
    return text if len(text) <= max_length else text[: max_length - 1] + "…"


def format_count(number: int, noun: str) -> str:
    """Format a count with a regular noun: ``1 row``, ``2,000 rows``.

    Args:
        number: The count.
        noun: Noun in the singular.
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def join_names(names: Iterable[str], max_names: int = 20) -> str:
    """Join the first names for messages.

    Args:
        names: The names.
        max_names: Maximum number of names that are written.
    """
    names_list = list(names)
    return ", ".join(names_list[:max_names]) + (
        f", ... ({len(names_list)} in all)" if len(names_list) > max_names else ""
    )


def escape_markdown(text: str) -> str:
    """Escape text for a cell of a Markdown table."""
    return _MARKDOWN_CHARS.sub(r"\\\g<0>", escape_control_chars(text, one_line=True)).replace("<", "&lt;")


def _escape_match(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape", "surrogatepass").decode("ascii")


def format_dtype(dtype: object) -> str:
    """Return the name of a torch type without its package: ``float32``."""
    return str(dtype).removeprefix("torch.")
