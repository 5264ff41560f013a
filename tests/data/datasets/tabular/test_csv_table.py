"""CSV tables: header, delimiter, encoding of columns, missing values, splits and targets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, needs
from tests.helpers.small_tables import GAPS, load, people, problem, write
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.data.encoding import column_encoding
from trainer.data.encoding.row_encoder import RowEncoder
from trainer.data.readers import delimited
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.splits.splitting import stratified_order


def split_sizes(data: CSV) -> list[int]:
    return [len(split) for split in (data.train, data.val, data.test)]


def test_numeric_columns_are_standardized_and_categories_one_hot(tmp_path: Path) -> None:
    data = load(write(tmp_path, people()))
    x = data.train.inputs["x"]
    assert x.shape == (24, 4)
    assert x[:, 0].mean().abs() < 1e-6
    assert float(x[:, 0].std(correction=0)) == pytest.approx(1, abs=1e-6)
    assert torch.equal(x[:, 1:].sum(1), torch.ones(24))
    assert data.info.sizes == {"in_features": 4, "flat_features": 4, "num_classes": 2, "out_features": 1}
    assert data.info.class_names == ["no", "yes"]
    assert data.train.target.dtype == torch.int64


def test_schema_is_json_serializable_and_reproduces_encoding(tmp_path: Path) -> None:
    path = write(tmp_path, people())
    data = load(path)
    table = delimited.read(str(path), "data.path", None, "auto", "utf-8")
    encoded = RowEncoder(data.schema, CellFormat.from_options(data.options)).encode(table).x.numpy()
    rows = torch.cat([split.inputs["x"] for split in (data.train, data.val, data.test)])
    assert sorted(map(tuple, encoded.tolist())) == sorted(map(tuple, rows.tolist()))

    def is_serializable(value: Any) -> bool:
        if isinstance(value, dict | list):
            return all(map(is_serializable, value.values() if isinstance(value, dict) else value))
        return type(value) in (str, int, float, bool)

    assert is_serializable(data.schema)


def test_regression_learns_numeric_target(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,b", *(f"{i % 7},{3 * (i % 7) + 100}" for i in range(60))])
    run = lab("model=mlp", "data=csv", f"data.path={path}", "data.target=b", "task=regression", "epochs=40")
    assert run.data.train.target.shape == (36, 1)
    assert run.data.schema["target"]["mean"] == pytest.approx(109, abs=2)
    assert run.data.info.baseline["rmse"] > 5
    assert run.test()["rmse"] < 3


def test_classification_is_the_default_task(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,kind", *(f"{i % 7},{'low' if i % 7 < 4 else 'high'}" for i in range(70))])
    run = lab("model=mlp", "data=csv", f"data.path={path}", "data.target=kind", "optimizer.lr=1e-2")
    assert run.test()["accuracy"] > 0.95 > run.data.info.baseline["accuracy"]


def test_target_kind_selects_classes_or_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,y", *(f"{i % 5},{i % 3 + 4}" for i in range(60))])
    assert load(path).info.class_names == ["4", "5", "6"]
    assert load(path, target_kind="number").train.target.dtype == torch.float32


def test_columns_without_header_are_selected_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, people()[1:])
    assert len(load(path, -1).train) == len(load(path, 2).train) == 24
    assert "no header (first row: 0.0, red, no); give a number, 0 to 2" in problem(path, "y")


@pytest.mark.parametrize(("delimiter", "name"), [(";", "semicolon"), ("\t", "tab"), ("|", "bar"), (" ", "space")])
def test_delimiter_is_detected(tmp_path: Path, delimiter: str, name: str) -> None:
    path = write(tmp_path, [line.replace(" ", "").replace(",", delimiter) for line in people()])
    assert torch.equal(load(path).train.inputs["x"], load(path, delimiter=name).train.inputs["x"])


def test_decimal_commas_are_reported_and_read_with_decimal_key(tmp_path: Path) -> None:
    path = write(tmp_path, [line.replace(", ", ";").replace(",", ";").replace(".", ",") for line in people()])
    assert "column 'size' holds numbers such as '0,0': data.decimal=comma reads it as 0" in problem(path)
    assert load(path, decimal="comma").schema["columns"][0]["kind"] == "number"


def test_quoted_cells_may_contain_quotes_and_newlines(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,y", *(f'"b, ""{i % 2}"" \n c",{i % 2}' for i in range(20))])
    assert sorted(load(path).schema["columns"][0]["categories"]) == ['b, "0" \n c', 'b, "1" \n c']


def test_rare_and_unknown_categories_are_other(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,y", *(f"{'often' if i % 3 else f'once{i}'},{i % 2}" for i in range(60))])
    column = load(path).schema["columns"][0]
    assert (column["categories"], column["other"]) == (["often"], True)
    assert column_encoding.encode(column, np.array(["often", "never seen"], dtype=object)).tolist() == [[1, 0], [0, 1]]
    without_other = column | {"other": False}
    assert column_encoding.encode(without_other, np.array(["often", "never seen"], dtype=object)).tolist() == [[1], [0]]


def test_categories_are_capped_at_the_most_frequent(tmp_path: Path) -> None:
    path = write(tmp_path, ["a,y", *(f"c{int(i**0.5)},{i % 2}" for i in range(100))])
    column = load(path, max_categories=3).schema["columns"][0]
    assert len(column["categories"]) == 3
    assert "c9" in column["categories"]


def test_categorical_key_encodes_numbers_one_hot(tmp_path: Path) -> None:
    path = write(tmp_path, ["zip,y", *(f"{10 * (i % 4)},{i % 2}" for i in range(40))])
    assert load(path).info.sizes["in_features"] == 1
    assert load(path, categorical=["zip"]).info.sizes["in_features"] == 4


def broken_lines() -> list[str]:
    """Return lines with a text in row 2, a missing number in row 5, infinity in row 7, a missing category in row 9."""
    lines = people()
    for row, cell in ((2, "x"), (5, "?"), (7, "inf")):
        lines[row] = ",".join([cell, *lines[row].split(",")[1:]])
    lines[9] = re.sub(r"red|green|blue", "NA", lines[9])
    return lines


def test_bad_cells_are_reported_and_counted(tmp_path: Path) -> None:
    path = write(tmp_path, broken_lines())
    message = problem(path)
    assert f"{path}: row 2 (line 3), column 'size': 'x' is not a finite number; 3 such cells" in message
    for remedy in ("data.nan=drop", "data.nan=fill", "data.categorical=[size]"):
        assert remedy in message


def test_rows_with_gaps_are_dropped(tmp_path: Path) -> None:
    data = load(write(tmp_path, broken_lines()), nan="drop")
    assert sum(split_sizes(data)) == 36
    assert data.info.sizes["in_features"] == 4


def test_missing_value_is_imputed_with_mean_and_indicator(tmp_path: Path) -> None:
    data = load(write(tmp_path, broken_lines()), nan="fill", val=0.05, test=0.05)
    x = torch.cat([split.inputs["x"] for split in (data.train, data.val, data.test)])
    assert data.schema["columns"][0]["gaps"]
    assert x[:, 1].sum() == 3
    assert torch.equal(x[x[:, 1] == 1, 0], torch.zeros(3))
    assert x.isfinite().all()


def test_a_missing_categorical_value_is_a_category(tmp_path: Path) -> None:
    lines = [line.replace("red", "?") for line in people()]
    assert "" in load(write(tmp_path, lines)).schema["columns"][1]["categories"]


def test_a_missing_target_is_never_imputed(tmp_path: Path) -> None:
    lines = people()
    lines[4] = lines[4].rpartition(",")[0] + ",?"
    path = write(tmp_path, lines)
    message = problem(path, nan="fill")
    assert "row 4 (line 5), column 'y': missing value ('?'); 1 such cell in the column" in message
    assert "data.nan=drop" in message
    assert sum(split_sizes(load(path, nan="drop"))) == 39


def test_splits_are_stratified(tmp_path: Path) -> None:
    lines = ["a,y", *(f"{i % 11},{'rare' if i % 10 == 0 else 'common'}" for i in range(100))]
    data = load(write(tmp_path, lines))
    assert [int((split.target == 1).sum()) for split in (data.train, data.val, data.test)] == [6, 2, 2]


def test_stratified_order_is_permutation_with_singleton_class_in_training() -> None:
    labels = torch.tensor([0] * 50 + [1] * 7 + [2])
    order = stratified_order(labels, 5)
    assert sorted(order.tolist()) == list(range(58))
    assert 57 in order[:34].tolist()
    assert not torch.equal(order, stratified_order(labels, 6))


def test_split_column_defines_the_splits(tmp_path: Path) -> None:
    words = ["train", "train", "Train", "valid", "test"]
    lines = ["part,a,y", *(f"{words[i % 5]},{i % 5},{i // 5 % 2}" for i in range(50))]
    data = load(write(tmp_path, lines), split_column="part")
    assert split_sizes(data) == [30, 10, 10]
    assert len(data.val.inputs["x"].unique()) == 1
    lines[3] = "trian,1,1"
    assert "(line 4), column 'part': 'trian' is not a split" in problem(write(tmp_path, lines), split_column="part")


def test_test_path_file_is_the_test_split(tmp_path: Path) -> None:
    path = write(tmp_path, people())
    lines = people(9)
    cells = [line.split(",") for line in lines[1:]]
    swapped = ["y,size,colour", *(f"{y}.,{size},{colour}" for size, colour, y in cells)]
    data = load(path, test_path=str(write(tmp_path, swapped, "test.csv")))
    assert data.info.class_names == ["no", "yes"]
    assert len(data.test) == 9
    assert len(data.train) + len(data.val) == 40
    assert data.test.target.tolist() == [i % 2 for i in range(9)]
    lines[5] = lines[5].replace("no", "noo")
    message = problem(path, test_path=str(write(tmp_path, lines, "test.csv")))
    assert "test.csv: row 5 (line 6), column 'y': class 'noo' has no training row; did you mean no?" in message


def test_equivalent_labels_are_one_class(tmp_path: Path) -> None:
    numbers = write(tmp_path, ["a,y", *(f"{i % 5},{('1', '1.0', '2')[i % 3]}" for i in range(30))])
    assert load(numbers).info.class_names == ["1", "2"]
    dots = write(tmp_path, ["a,y", *(f"{i % 5},{('yes', 'yes.', 'no.')[i % 3]}" for i in range(30))])
    assert load(dots).info.class_names == ["no.", "yes"]


def test_test_path_file_with_missing_columns_raises(tmp_path: Path) -> None:
    other = write(tmp_path, [line.partition(",")[2] for line in people()], "test.csv")
    assert "is missing columns of" in problem(write(tmp_path, people()), test_path=str(other))


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        (["a,b", "1,x", "2,y"], True),
        (["1,x", "2,y"], False),
        (["p,q", "x,y", "x,z"], True),
        (["x,y", "x,z", "w,y"], False),
        (["a,a", "1,2"], False),
        (["a,,", "1,2,3"], False),
    ],
)
def test_a_header_is_distinguished_from_a_row(rows: list[str], header: bool) -> None:
    assert delimited.looks_like_header([row.split(",") for row in rows]) is header


def test_parse_numbers_returns_nan_for_missing_and_inf_for_text() -> None:
    cell_format = CellFormat(frozenset(GAPS), has_decimal_comma=False)
    values = cell_format.parse_numbers(["1.5", "?", "NaN", "-inf", "x", "1e400", "1,5"])
    assert values[0] == 1.5
    assert np.isnan(values[1:3]).all()
    assert np.isinf(values[3:]).all()


@needs("adult")
@pytest.mark.slow
def test_adult_sizes_and_accuracy_above_baseline() -> None:
    files = (f"data.path={FOLDER}/adult/adult-train.csv", f"data.test_path={FOLDER}/adult/adult-test.csv")
    run = lab("model=mlp", "data=csv", *files, "data.target=-1", "max_steps=400")
    assert split_sizes(run.data) == [26049, 6512, 16281]
    assert run.data.info.class_names == ["<=50K", ">50K"]
    assert run.data.info.baseline["accuracy"] < 0.77
    assert run.test()["accuracy"] > 0.83


@needs("wine_quality")
@pytest.mark.slow
def test_wine_quality_classification_and_regression_beat_baseline() -> None:
    options = ("model=mlp", "data=csv", f"data.path={FOLDER}/wine_quality/winequality-red.csv", "data.target=-1")
    run = lab(*options)
    assert run.test()["accuracy"] > run.data.info.baseline["accuracy"] + 0.1
    run = lab(*options, "task=regression")
    assert run.test()["rmse"] < run.data.info.baseline["rmse"] - 0.08
