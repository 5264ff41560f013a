"""Parsing of table cells: numbers, missing values, codes and separators."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pytest

from trainer.data.readers.cell_parsing import CellFormat
from trainer.utils.errors import DataError

POINT = CellFormat(frozenset(("", "na")))
COMMA = CellFormat(frozenset(("",)), has_decimal_comma=True)
ENGLISH = CellFormat(frozenset(), thousands="comma")
GERMAN = CellFormat(frozenset(), has_decimal_comma=True, thousands="point")


@pytest.mark.parametrize(
    ("cell_format", "cell", "value"),
    [
        *((POINT, cell, float(cell)) for cell in ("5", "+5", "-0.5", ".5", "5.", "1e-3", "1E+3", "007")),
        (POINT, "\u22125", -5.0),
        (COMMA, "0,5", 0.5),
        (COMMA, "-1,5e3", -1500.0),
        (ENGLISH, "1,020", 1020.0),
        (ENGLISH, "-1,234,567.5", -1234567.5),
        (ENGLISH, "12,34,567", 1234567.0),
        (ENGLISH, "1020", 1020.0),
        (GERMAN, "1.020", 1020.0),
        (GERMAN, "1.020,5", 1020.5),
        (CellFormat(frozenset(), has_decimal_comma=True, thousands="space"), "1\u202f020,5", 1020.5),
        (CellFormat(frozenset(), thousands="apostrophe"), "1'020", 1020.0),
    ],
)
def test_parse_number_uses_chosen_separators(cell_format: CellFormat, cell: str, value: float) -> None:
    assert cell_format.parse_number(cell) == value


@pytest.mark.parametrize(
    ("cell_format", "cell"),
    [
        *(
            (POINT, cell)
            for cell in ("1_0", "2021_01", "1,5", "\u0661", "0x1", "inf", "1e400", "1.8e308", "1e101", "--5")
        ),
        *((COMMA, cell) for cell in ("1.020", "0.5", "1,0,5")),
        *((ENGLISH, cell) for cell in ("1,02", "1,0200", "0,5", "1.020,5", "1020,000")),
        *((GERMAN, cell) for cell in ("1.02", "1,020.5")),
    ],
)
def test_parse_number_of_other_text_is_infinite(cell_format: CellFormat, cell: str) -> None:
    assert np.isinf(cell_format.parse_number(cell))


@pytest.mark.parametrize(
    ("cell", "expected"),
    [
        ("1.7976931348623157e308", "is beyond 1e+100, too large to compute with"),
        ("-1.8e308", "is beyond 1e+100"),
        ("1e400", "is beyond 1e+100"),
        ("3.4028235e38", "is the largest of float32"),
        ("-3.4028234663852886e+38", "is the largest of float32"),
        ("-3.4e38", "is the largest of float32"),
    ],
)
def test_a_sentinel_value_is_reported_as_a_code(cell: str, expected: str) -> None:
    assert np.isinf(POINT.parse_number(cell))
    assert expected in (message := POINT.describe_non_number(cell))
    assert message.endswith("is it a code for data.missing?")
    assert np.isnan(CellFormat.from_options({"missing": [cell], "decimal": "point"}).parse_number(cell))


@pytest.mark.parametrize("cell", ["3.3e38", "3.5e38", "1e99", "-2e30", "1.9891e30", "9223372036854775807"])
def test_large_measurements_are_parsed(cell: str) -> None:
    assert POINT.parse_number(cell) == float(cell)


def test_a_missing_value_code_matches_every_notation_of_its_number() -> None:
    cell_format = CellFormat.from_options({"missing": [-9999, "NA", "1.8e308"], "decimal": "point"})
    for cell in ("-9999", "-9999.0000", "-9.999e3", "na", "NA", "1.80e308"):
        assert cell_format.is_gap(cell), cell
    for cell in ("9999", "-9999.5", "", "-09999"):
        assert not cell_format.is_gap(cell), cell
    assert np.isnan(CellFormat.from_options({"missing": ["-1"], "decimal": "comma"}).parse_number("-1,00"))


def test_same_decimal_and_thousands_separator_raises() -> None:
    with pytest.raises(DataError, match=r"^thousands: comma given, which is the decimal sign"):
        CellFormat(frozenset(), has_decimal_comma=True, thousands="comma")


def test_canonicalize_number_accepts_plain_notation_only() -> None:
    assert POINT.canonicalize_number("1") == POINT.canonicalize_number("1.0") == Decimal(1)
    assert POINT.canonicalize_number("-2.50") == Decimal("-2.5")
    assert COMMA.canonicalize_number("2,50") == Decimal("2.5")
    assert POINT.canonicalize_number("9007199254740993") != POINT.canonicalize_number("9007199254740992")
    for cell in ("01", "+1", "1_0", "1e3", "1.", ".5", "\u0661", "-0", "a", "1,0", ""):
        assert POINT.canonicalize_number(cell) is None, cell


def test_zero_padded_numbers_of_equal_width_are_codes() -> None:
    assert POINT.are_codes(["01234", "98765", "", "na"])
    assert not POINT.are_codes(["1234", "98765"])
    assert not POINT.are_codes(["07", "7", "100"]), "of different widths"
    assert not POINT.are_codes(["00.5", "10.5"]), "a measurement"
    assert POINT.parse_column(["01", "02"]).dtype == object
    assert POINT.parse_column(["1", "2"]).dtype == np.float64


def test_find_padded_duplicates() -> None:
    assert POINT.find_padded_duplicates(["7", "10", "07"]) == ("07", "7")
    assert POINT.find_padded_duplicates(["007", "07"]) == ("007", "07")
    assert POINT.find_padded_duplicates(["07", "8", "1.0", "1"]) is None


@pytest.mark.parametrize(
    ("cell_format", "cells", "expected"),
    [
        (POINT, ["0,5", "1,25"], "numbers such as '0,5': data.decimal=comma reads it as 0.5"),
        (POINT, ["100", "1,100"], "'1,100': data.thousands=comma reads it as 1100, data.decimal=comma reads it as 1.1"),
        (POINT, ["5,000.5", "1,000"], "'5,000.5': data.thousands=comma reads it as 5000.5"),
        (POINT, ["1.020,5", "980,5"], "'1.020,5': data.decimal=comma data.thousands=point reads it as 1020.5"),
        (COMMA, ["1.020", "980", "937,50"], "'1.020': data.thousands=point reads it as 1020"),
        (COMMA, ["0.5", "0.25"], "'0.5': data.decimal=point reads it as 0.5"),
        (POINT, ["1 020", "2 020"], "'1 020': data.thousands=space reads it as 1020"),
        (GERMAN, ["1,020.5"], "data.decimal=point data.thousands=comma reads it as 1020.5"),
    ],
)
def test_suggest_number_format_names_separators_and_example(
    cell_format: CellFormat, cells: list[str], expected: str
) -> None:
    message = cell_format.suggest_number_format(cells)
    assert message is not None
    assert message.endswith(expected)


@pytest.mark.parametrize("cells", [["a", "b"], ["<5", "7.5"], ["1_0", "2"], ["", "na"], ["10,20,30", "x1"], ["1.2.3"]])
def test_suggest_number_format_without_remedy_returns_none(cells: list[str]) -> None:
    assert POINT.suggest_number_format(cells) is None
