"""Rows in memory: data frames, columns, records and arrays are encoded like the same cells in a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.small_tables import load, people, with_gaps, write
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.data.encoding import cell_objects
from trainer.data.readers.cell_parsing import CellFormat
from trainer.utils.errors import DataError

RECORDS = [{"size": 1.5, "colour": "red"}, {"size": 2, "colour": "blue"}, {"size": -3e-5, "colour": "green"}]
CELLS = [list(row.values()) for row in RECORDS]
COLUMNS = {name: [row[name] for row in RECORDS] for name in RECORDS[0]}
FORMAT = CellFormat(frozenset({"", "na"}))


@pytest.fixture
def data(tmp_path: Path) -> CSV:
    return load(write(tmp_path, people()))


def make_pandas(columns: Any) -> Any:
    return pytest.importorskip("pandas").DataFrame(columns)


def make_arrow(columns: Any) -> Any:
    return pytest.importorskip("pyarrow").table(columns)


class PolarsFrame:
    """A frame with the methods of polars that are used."""

    def __init__(self, columns: dict[str, list[Any]]):
        self.columns = list(columns)
        self._columns = columns

    def __getitem__(self, name: str) -> list[Any]:
        return self._columns[name]


KINDS: dict[str, Callable[[], Any]] = {
    "records": lambda: RECORDS,
    "columns": lambda: COLUMNS,
    "other order": lambda: {name: COLUMNS[name] for name in reversed(COLUMNS)},
    "extra column": lambda: {"other": [[], {}, None], **COLUMNS},
    "lists": lambda: CELLS,
    "tuples": lambda: tuple(map(tuple, CELLS)),
    "object array": lambda: np.array(CELLS, dtype=object),
    "arrays": lambda: {name: np.array(cells) for name, cells in COLUMNS.items()},
    "pandas": lambda: make_pandas(COLUMNS),
    "pandas categories": lambda: make_pandas(COLUMNS).astype({"colour": "category"}),
    "pandas without names": lambda: make_pandas(CELLS),
    "pyarrow": lambda: make_arrow(COLUMNS),
    "polars": lambda: PolarsFrame(COLUMNS),
    "texts": lambda: [{name: f" {cell} " for name, cell in row.items()} for row in RECORDS],
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_in_memory_are_encoded_like_a_file(data: CSV, tmp_path: Path, kind: str) -> None:
    lines = ["size,colour", *(",".join(map(str, row)) for row in CELLS)]
    expected = data.read(str(write(tmp_path, lines, "new.csv"))).inputs["x"]
    assert torch.equal(data.encode_rows(KINDS[kind]()).inputs["x"], expected)


def test_one_row_may_be_a_dict(data: CSV) -> None:
    assert torch.equal(data.encode_rows(RECORDS[0]).inputs["x"], data.encode_rows(RECORDS[:1]).inputs["x"])


@pytest.mark.parametrize("missing", [None, float("nan"), np.float32("nan"), "?", "", "NaT", "NA"])
def test_missing_values_are_missing_cells(tmp_path: Path, missing: Any) -> None:
    data = load(write(tmp_path, with_gaps()), nan="fill")
    if missing in ("NaT", "NA"):
        missing = getattr(pytest.importorskip("pandas"), missing)
    x = data.encode_rows({"size": [missing], "colour": [missing]}).inputs["x"][0]
    assert x[:2].tolist() == [0, 1]
    empty = [column["categories"].index("") for column in data.schema["columns"] if column["kind"] == "category"]
    assert x[2 + empty[0]] == 1


@pytest.mark.parametrize(
    ("value", "categories", "cell"),
    [
        (True, ["True", "False"], "True"),
        (True, ["true", "false"], "true"),
        (np.bool_(False), ["FALSE"], "FALSE"),
        (True, ["0", "1"], "1"),
        (70, ["70.0"], "70.0"),
        (70.0, ["70"], "70"),
        (np.int64(7), ["7"], "7"),
        (np.float32(0.1), ["0.1"], "0.1"),
        (Decimal("1.50"), ["1.50"], "1.50"),
        (date(2024, 1, 31), ["2024-01-31"], "2024-01-31"),
        (datetime(2024, 1, 31), ["2024-01-31 00:00:00"], "2024-01-31 00:00:00"),
        (datetime(2024, 1, 31), [], "2024-01-31"),
        (datetime(2024, 1, 31, 12), [], "2024-01-31 12:00:00"),
        (np.datetime64("2024-01-31T12:00"), ["2024-01-31T12:00:00"], "2024-01-31T12:00:00"),
        (" padded ", [], "padded"),
        (3.5, ["red"], "3.5"),
    ],
)
def test_value_has_the_spelling_of_the_category(value: Any, categories: list[str], cell: str) -> None:
    column = {"name": "a", "kind": "category", "categories": categories, "other": False}
    assert cell_objects.format_column([value, value], column, FORMAT, "column") == (cell, cell)


@pytest.mark.parametrize(
    ("values", "cells"),
    [
        ([True, 1, 1.0, "1"], ("1", "1", "1.0", "1")),
        (np.array([1.5, np.nan], dtype=np.float32), ("1.5", "")),
        (np.array([1, -2]), ("1", "-2")),
        ([1e-7, "1.000,5"], ("1e-07", "1.000,5")),
    ],
)
def test_numbers_have_the_digits_that_identify_them(values: Any, cells: tuple[str, ...]) -> None:
    column = {"name": "a", "kind": "number", "mean": 0.0, "std": 1.0, "decimals": 0, "gaps": True}
    assert cell_objects.format_column(values, column, FORMAT, "column") == cells


@pytest.mark.parametrize("as_array", [False, True])
def test_numbers_do_not_depend_on_the_decimal_sign_of_the_file(tmp_path: Path, as_array: bool) -> None:
    lines = [line.replace(", ", ";").replace(",", ";").replace(".", ",") for line in people()]
    data = load(write(tmp_path, lines), decimal="comma")
    sizes: Any = np.array([1.5, 2.25]) if as_array else [1.5, "2,25"]
    x = data.encode_rows({"size": sizes, "colour": ["red", "red"]}).inputs["x"]
    column = data.schema["columns"][0]
    assert x[:, 0].tolist() == pytest.approx([(value - column["mean"]) / column["std"] for value in (1.5, 2.25)])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("red", "the input is a str; give a data frame"),
        ([1, 2], "the input is a list; give a data frame"),
        (np.zeros((2, 3, 4)), r"the input is a ndarray of shape \(2, 3, 4\); give a data frame"),
        ([], "the input has no rows"),
        ({}, "the input has no rows"),
        ({"size": [], "colour": []}, "the input has no rows"),
        ([[1, "red"], [2]], "the input: row 2 has 1 cells, the first has 2"),
        ({"size": [1, 2], "colour": ["red"]}, "the input: the columns have 1 to 2 rows"),
        ([{"size": 1}], "the input is missing columns of the training data: colour"),
        ([{"size": 1, "color": "red"}], r"missing columns of the training data: colour; did you mean color\?"),
        ([[1, "red", 3, 4]], "the input has 4 columns; the training table has 3, of which 2 are features"),
        ([{"size": [1], "colour": "red"}], r"the input: column 'size': row 1: \[1\] is not a text, number or date"),
        ([{"size": "big", "colour": "red"}], "the input: row 1, column 'size': 'big' is not a finite number; 1 such"),
        ([{"size": float("inf"), "colour": "red"}], "row 1, column 'size': 'inf' is not a finite number"),
        ([{"size": None, "colour": "red"}], r"row 1, column 'size': missing value \(''\)"),
    ],
)
def test_other_objects_are_refused_in_a_sentence(data: CSV, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.encode_rows(rows)


def test_frame_with_equal_names_is_refused(data: CSV) -> None:
    frame = make_pandas(CELLS)
    frame.columns = ["size", "size"]
    with pytest.raises(DataError, match="the input: several columns are named 'size'"):
        data.encode_rows(frame)


def test_table_without_header_takes_arrays_in_order(tmp_path: Path) -> None:
    data = load(write(tmp_path, people()[1:]), -1)
    named, unnamed = data.encode_rows(COLUMNS).inputs["x"], data.encode_rows(CELLS).inputs["x"]
    assert torch.equal(named, unnamed)
    assert data.row_schema()["minItems"] == 2


def test_row_schema_describes_the_columns(data: CSV) -> None:
    schema = data.row_schema()
    assert schema["required"] == ["size", "colour"]
    assert schema["properties"]["size"] == {"type": "number"}
    assert sorted(schema["properties"]["colour"]["examples"]) == ["blue", "green", "red"]
