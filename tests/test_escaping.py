"""Names of a user's steer neither a terminal nor Markdown, and are shown as they are."""

from __future__ import annotations

import logging

import pytest
from trainer.escaping import PrintableFilter, markdown, printable, shorten


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\x1b[31mb", "a\\x1b[31mb"),
        ("bell\x07\x7f\x9b", "bell\\x07\\x7f\\x9b"),
        ("right\u202eleft", "right\\u202eleft"),
        ("half\udc80", "half\\udc80"),
        ("plain [b] $x$ é 日本 👩‍👧", "plain [b] $x$ é 日本 👩‍👧"),
        ("two\nlines\tof", "two\nlines\tof"),
    ],
)
def test_only_what_steers_is_written_out(text: str, shown: str) -> None:
    assert printable(text) == shown
    printable(text).encode()


def test_a_cell_of_markdown_is_one_line_and_one_cell() -> None:
    assert markdown("a|b\n<i>[x](y)*`") == "a\\|b\\\\x0a&lt;i>\\[x\\](y)\\*\\`"


def test_what_is_too_long_for_a_picture_says_so() -> None:
    assert shorten("x" * 24) == "x" * 24
    assert shorten("x" * 25) == "x" * 23 + "…"


def test_a_log_is_printable() -> None:
    record = logging.LogRecord("trainer", logging.INFO, "", 0, "reads %s", ("\x1b]0;title\x07",), None)
    assert PrintableFilter().filter(record)
    assert record.getMessage() == "reads \\x1b]0;title\\x07"
