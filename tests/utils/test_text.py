"""Escaping and shortening of printed texts."""

from __future__ import annotations

import logging

import pytest

from trainer.utils.log_filter import PrintableFilter
from trainer.utils.text import (
    escape_control_chars,
    escape_markdown,
    escape_unencodable,
    format_count,
    shorten_label,
    shorten_repr,
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain, with ümlauts, हिन्दी and a\nline", "plain, with ümlauts, हिन्दी and a\nline"),
        ("\x1b[2Jgone", r"\x1b[2Jgone"),
        ("title\x1b]0;owned\x07", r"title\x1b]0;owned\x07"),
        ("over\rwritten\x08", r"over\rwritten\x08"),
        ("\x9b31mred", r"\x9b31mred"),
        ("right\u202eleft\u2066", r"right\u202eleft\u2066"),
        ("caf\udce9", r"caf\udce9"),
    ],
)
def test_control_characters_are_escaped(text: str, expected: str) -> None:
    assert escape_control_chars(text) == expected
    assert escape_control_chars(escape_control_chars(text)) == expected


def test_one_line_escapes_line_breaks_and_tabs() -> None:
    assert escape_control_chars("a\nb\tc", one_line=True) == r"a\nb\tc"


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    assert escape_unencodable("5 µs \udce9", "ascii") == r"5 \xb5s \udce9"
    assert escape_unencodable("5 µs", "utf-8") == "5 µs"


def test_shorten_repr_shortens_long_and_huge_values() -> None:
    assert shorten_repr("abc") == "'abc'"
    assert len(shorten_repr("x" * 10_000)) <= 100
    assert shorten_repr(10**5000) == "a very long int"
    assert shorten_repr("\x1b") == r"'\x1b'"


def test_markdown_cell_is_escaped() -> None:
    assert escape_markdown("a|b\n<i>[x](y)*`") == "a\\|b\\\\n&lt;i>\\[x\\](y)\\*\\`"


def test_long_label_is_shortened() -> None:
    assert shorten_label("x" * 24) == "x" * 24
    assert shorten_label("x" * 25) == "x" * 23 + "…"


def test_log_filter_escapes_control_characters() -> None:
    record = logging.LogRecord("trainer", logging.INFO, "", 0, "reads %s", ("\x1b]0;title\x07",), None)
    assert PrintableFilter().filter(record)
    assert record.getMessage() == "reads \\x1b]0;title\\x07"


def test_counts_of_one_are_singular() -> None:
    texts = [format_count(number, "row") for number in (0, 1, 2, 2000)]
    assert texts == ["0 rows", "1 row", "2 rows", "2,000 rows"]
