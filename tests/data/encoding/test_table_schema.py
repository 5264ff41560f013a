"""Fitted schema of a table: encoding of new rows, errors, and decoding to cells."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from tests.helpers.small_tables import load, people, write
from trainer.config import compatibility
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.utils.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> CSV:
    return load(write(tmp_path, people()))


def read_error(data: CSV, path: Path) -> str:
    with pytest.raises(DataError) as caught:
        data.read(str(path))
    return str(caught.value)


def test_new_rows_in_any_column_order_match_training_encoding(data: CSV, tmp_path: Path) -> None:
    swapped = [",".join(reversed(line.replace(" ", "").split(","))) for line in people()]
    same_order = data.read(str(write(tmp_path, people(), "same.csv")))
    swapped_order = data.read(str(write(tmp_path, swapped, "swapped.csv")))
    fitted_rows = torch.cat([split.inputs["x"] for split in (data.train, data.val, data.test)])
    assert sorted(map(tuple, same_order.inputs["x"].tolist())) == sorted(map(tuple, fitted_rows.tolist()))
    assert torch.equal(same_order.inputs["x"], swapped_order.inputs["x"])
    assert same_order.target is not None
    assert same_order.target.tolist() == [i % 2 for i in range(40)]


@pytest.mark.parametrize("lines", [["0.5,red"], ["0.5,red,?"], ["colour,size", "red,0.5"], ["size,colour", "0.5,red"]])
def test_rows_without_target_are_read_with_or_without_header(data: CSV, tmp_path: Path, lines: list[str]) -> None:
    split = data.read(str(write(tmp_path, lines, "new.csv")))
    assert split.target is None
    assert split.inputs["x"].shape == (1, 4)
    assert data.info.table.to_table is not None
    assert data.info.table.to_table(split.inputs["x"], None) == (["size", "colour"], [[0.5, "red"]])


def test_missing_and_extra_columns_are_reported(data: CSV, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    message = read_error(data, write(tmp_path, ["size,color", "1,red"], "new.csv"))
    assert "new.csv is missing columns of the training data: colour; did you mean color?" in message
    message = read_error(data, write(tmp_path, ["Size,color", "1,red"], "new.csv"))
    assert "missing columns of the training data: size, colour; did you mean Size, color?" in message
    message = read_error(data, write(tmp_path, ["size;colour", "1,5;red"], "new.csv"))
    assert "the training rows have a number in every such cell, with a decimal point" in message
    message = read_error(data, write(tmp_path, ["1,2,3,4"], "new.csv"))
    assert "new.csv has 4 columns; the training table has 3, of which 2 are features: size, colour" in message
    with caplog.at_level(logging.WARNING):
        data.read(str(write(tmp_path, ["size,colour,extra", "1,purple,x", "2,?,y"], "new.csv")))
    assert "columns that are not in the training table are ignored: extra" in caplog.text
    assert "categories in column 'colour' that no training row has: missing value, purple" in caplog.text


def test_non_numeric_cells_are_reported_with_their_row(data: CSV, tmp_path: Path) -> None:
    message = read_error(data, write(tmp_path, ["size,colour", "1,red", "big,red", "?,red"], "new.csv"))
    assert "new.csv: row 2 (line 3), column 'size': 'big' is not a finite number; 2 such cells in the column" in message
    assert "the training rows have a number in every such cell" in message


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "does not exist"), ("", "is empty"), ("size,colour\n", "no rows")]
)
def test_missing_or_empty_file_raises(data: CSV, tmp_path: Path, content: str | None, expected: str) -> None:
    path = tmp_path / "new.csv"
    if content is not None:
        path.write_text(content)
    message = read_error(data, path)
    assert message.startswith("input: ")
    assert expected in message


def test_to_table_restores_cells_in_original_units(tmp_path: Path) -> None:
    cells = [(i % 4, round(i * 0.25, 2), "ab"[i % 2]) for i in range(40)]
    lines = ["count,price,kind,y", *(f"{count},{price},{kind},{kind}" for count, price, kind in cells)]
    lines[7] = f"{cells[6][0]},?,a,a"
    data = load(write(tmp_path, lines), nan="fill")
    assert data.info.table.to_table is not None
    x = data.read(str(tmp_path / "t.csv")).inputs["x"]
    names, rows = data.info.table.to_table(x, None)
    assert names == ["count", "price", "kind"]
    cells[6] = (cells[6][0], "", "a")  # type: ignore[assignment]
    assert rows == [list(row) for row in cells]
    assert data.info.table.feature_names == ["count", "price", "price is missing", "kind = a", "kind = b"]
    assert {type(row[0]) for row in rows} == {int}
    rounded_rows = data.info.table.to_table(x + torch.tensor([0.2, 0.2, 0.1, 0.2, -0.2]), None)[1]
    assert [row[::2] for row in rounded_rows] == [row[::2] for row in rows]


def test_to_table_decodes_rare_category_as_other(tmp_path: Path) -> None:
    lines = ["a,y", *(f"{'often' if i % 3 else f'once{i}'},{i % 2}" for i in range(60))]
    data = load(write(tmp_path, lines))
    assert data.info.table.to_table is not None
    x = torch.tensor([[0.9, 0.2], [0.1, 0.8]])
    assert data.info.table.to_table(x, None) == (["a"], [["often"], ["other"]])
    assert data.info.table.feature_names == ["a = often", "a = other"]
    assert data.info.table.to_table(x, torch.tensor([1, 0])) == (["a", "y"], [["often", "1"], ["other", "0"]])


def test_every_column_without_target_is_a_feature(tmp_path: Path) -> None:
    data = load(write(tmp_path, people()), None)
    assert data.train.target is None
    assert [len(split) for split in (data.train, data.val, data.test)] == [24, 8, 8]
    assert data.info.sizes == {"in_features": 6, "flat_features": 6}
    assert [column["name"] for column in data.schema["columns"]] == ["size", "colour", "y"]
    assert "target" not in data.schema


def test_nan_drop_without_target_drops_rows(tmp_path: Path) -> None:
    lines = people()
    lines[3] = lines[3].replace("1.0", "?")
    data = load(write(tmp_path, lines), None, nan="drop")
    assert sum(len(split) for split in (data.train, data.val, data.test)) == 39


def test_target_of_generative_task_is_a_class(tmp_path: Path) -> None:
    kind = compatibility.infer_target_kind("trainer.tasks.gan.Adversarial")
    data = load(write(tmp_path, people()), task_target=kind)
    assert data.info.class_names == ["no", "yes"]
