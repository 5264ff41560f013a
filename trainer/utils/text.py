"""Text from outside made fit for a terminal: names, values and paths may hold what a terminal would act on."""

from __future__ import annotations

import re
import sys

_CONTROL_CHARS = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, the escape among them; newline and tab stay
    "\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069"  # marks that turn the direction or end a line
    "\ud800-\udfff]"  # halves of surrogate pairs: bytes of a file name that are not UTF-8
)

_MARKDOWN_CHARS = re.compile(r"[\\|*`\[\]]")


def escape_control_chars(text: str, *, one_line: bool = False) -> str:
    r"""The text with characters that act instead of being seen written out, as ``\x1b``.

    ``one_line``: newlines and tabs too, for a name in a cell or a path.
    """
    found = _CONTROL_CHARS.sub(_escape_match, text)
    return re.sub(r"[\n\t]", _escape_match, found) if one_line else found


def escape_unencodable(text: str, encoding: str | None = None) -> str:
    """The text with what an encoding (default: that of the standard output) lacks written out."""
    name = encoding or getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(name, "backslashreplace").decode(name)


def shorten_repr(value: object, most: int = 100) -> str:
    """``repr`` of a value given by a user, printable and cut in the middle where it is long."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # Python refuses to write integers of thousands of digits
        text = f"a very long {type(value).__name__}"
    text = escape_control_chars(text, one_line=True)
    half = (most - 5) // 2
    return text if len(text) <= most else f"{text[:half]} ... {text[-half:]}"


def shorten_label(text: str, most: int = 24) -> str:
    """The text, or as much of it as there is room for in a picture."""
    return text if len(text) <= most else text[: most - 1] + "…"


def format_count(number: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``: a number of things that are counted by a regular noun."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def escape_markdown(text: str) -> str:
    """The text as a cell of a Markdown table that shows it as it is."""
    return _MARKDOWN_CHARS.sub(r"\\\g<0>", escape_control_chars(text, one_line=True)).replace("<", "&lt;")


def _escape_match(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape", "surrogatepass").decode("ascii")
