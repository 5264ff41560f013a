"""Encoding of other tables in chunks: messages are those of a table that is read at once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.small_tables import load, people, with_gaps, write
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.data.readers import delimited
from trainer.utils.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> CSV:
    return load(write(tmp_path, people()))


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "CHUNK_CELLS", 30)


def many(*changed: tuple[int, str], count: int = 1000) -> list[str]:
    """Return the lines of a table of several chunks, with some rows (from 1) changed."""
    lines = ["size,colour,y", *people(count)[1:]]
    for number, line in changed:
        lines[number] = line
    return lines


def read(data: CSV, path: Path, **options: Any) -> list[Any]:
    return list(data.read_chunks(str(path), **options))


def read_error(data: CSV, path: Path, **options: Any) -> Sequence[str]:
    with pytest.raises(DataError) as caught:
        read(data, path, **options)
    return caught.value.problems


def test_chunks_are_encoded_like_the_whole_table(data: CSV, tmp_path: Path) -> None:
    path = write(tmp_path, many(), "new.csv")
    splits, whole = read(data, path, with_targets=True), data.read(str(path))
    assert len(splits) > 2
    assert torch.equal(torch.cat([split.inputs["x"] for split in splits]), whole.inputs["x"])
    assert torch.equal(torch.cat([split.target for split in splits]), whole.require_target())
    numbers = [number for split in splits for number in split.get_output_columns(0)["row"]]
    assert numbers == list(range(1, 1001))


def test_errors_are_counted_over_all_chunks(data: CSV, tmp_path: Path) -> None:
    path = write(tmp_path, many((301, "big,red,yes"), (302, "?,red,no"), (900, ",red,no")), "new.csv")
    problems = read_error(data, path)
    with pytest.raises(DataError) as whole:
        data.read(str(path))
    assert problems[: len(whole.value.problems)] == whole.value.problems
    assert problems[0].endswith(
        "new.csv: row 301 (line 302), column 'size': 'big' is not a finite number; 3 such cells in the column"
    )
    assert problems[1:] == (
        "the training rows have a number in every such cell, with a decimal point",
        "on_error=skip leaves these rows out",
    )


def test_no_split_follows_an_error(data: CSV, tmp_path: Path) -> None:
    path = write(tmp_path, many((301, "big,red,yes")), "new.csv")
    splits = []
    with pytest.raises(DataError):
        splits.extend(data.read_chunks(str(path)))
    for split in data.read_chunks(str(path), on_error="skip"):
        splits.append(split)
    assert all(len(split) > 0 for split in splits)


def test_skipped_rows_are_listed_and_keep_the_numbers(
    data: CSV, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    changed = [(301, "big,red,yes"), (302, "?,red,no"), (500, "1,red"), (900, "1e99,red,no"), (950, "y,red,no")]
    path = write(tmp_path, many((2, "x,red,no"), (3, ",,"), *changed), "new.csv")
    with caplog.at_level(logging.WARNING):
        splits = read(data, path, on_error="skip")
    numbers = [number for split in splits for number in split.get_output_columns(0)["row"]]
    assert sorted({*range(1, 1000)} - {*numbers}) == [2, 300, 301, 499, 899, 949]  # row 3 is a blank line
    messages = [record.getMessage() for record in caplog.records if record.getMessage().startswith("left out")]
    assert [message.partition("new.csv: ")[2] for message in messages[:5]] == [
        "row 2 (line 3), column 'size': 'x' is not a finite number",
        "row 300 (line 302), column 'size': 'big' is not a finite number",
        "row 301 (line 303), column 'size': missing value ('?')",
        "row 499: line 501 has 2 cells, the first has 3",
        "row 899 (line 901), column 'size': '1e99' is more than 1e+15 standard deviations from the mean of the training"
        " rows",
    ]
    assert messages[5:] == ["left out: and 1 more row"]


def test_file_without_a_readable_row_is_refused(data: CSV, tmp_path: Path) -> None:
    path = write(tmp_path, ["size,colour", "x,red", "y,red"], "new.csv")
    assert read_error(data, path, on_error="skip")[0] == f"input: no row of {path} can be read"


def test_warnings_are_one_line_for_all_chunks(data: CSV, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    changed = [(number, f"1,{'' if number % 2 else f'new{number}'},yes,8") for number in range(1, 1001)]
    lines = ["size,colour,y,other", *(line for _, line in changed)]
    with caplog.at_level(logging.WARNING):
        read(data, write(tmp_path, lines, "new.csv"))
    first, second = [record.getMessage().partition("new.csv: ")[2] for record in caplog.records]
    assert first == "columns that are not in the training table are ignored: other"
    assert second == (
        "categories in column 'colour' that no training row has: missing value, new10, new100, new1000, new102"
        " and 496 more (1,000 rows)"
    )


def test_rare_and_new_categories_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = load(write(tmp_path, people()), max_categories=2)
    with caplog.at_level(logging.WARNING):
        read(data, write(tmp_path, ["size,colour", "1,pink", "2,green"], "new.csv"))
    assert "categories in column 'colour' that are rare or new, and count as other: green, pink (2 rows)" in caplog.text


def test_unknown_class_is_refused_with_the_nearest_one(data: CSV, tmp_path: Path) -> None:
    path = write(tmp_path, many((700, "1,red,yess"), (701, "1,red,?")), "new.csv")
    problems = read_error(data, path, with_targets=True)
    assert problems[0].endswith(
        "new.csv: row 700 (line 701), column 'y': 'yess' is not a class of this run; did you mean yes?"
        " (classes: no, yes); 2 such cells in the column"
    )
    assert problems[1:] == ("on_error=skip leaves these rows out",)
    assert sum(map(len, read(data, path, with_targets=True, on_error="skip"))) == 998
    assert sum(map(len, read(data, path))) == 1000  # labels are ignored in predictions


def test_missing_target_column_is_refused_with_the_nearest_name(data: CSV, tmp_path: Path) -> None:
    message = read_error(data, write(tmp_path, ["size,colour,Y", "1,red,yes"], "new.csv"), with_targets=True)[0]
    assert message.startswith(f"input: {tmp_path}/new.csv has no target column 'y'; did you mean Y?")
    message = read_error(data, write(tmp_path, ["1,red", "2,red"], "new.csv"), with_targets=True)[0]
    assert message.endswith("new.csv has 2 columns, so it has no target column")


def test_numbers_are_standardized_targets(tmp_path: Path) -> None:
    lines = ["a,y", *(f"{i % 7},{3 * (i % 7) + 100}" for i in range(60))]
    data = load(write(tmp_path, lines), task_target="number")
    path = write(tmp_path, ["y,a", "100,0", "103,1"], "new.csv")
    (split,) = read(data, path, with_targets=True)
    expected = [(value - data.info.target.mean) / data.info.target.scale for value in (100, 103)]
    assert split.target[:, 0].tolist() == pytest.approx(expected)
    bad = write(tmp_path, ["y,a", "100,0", "1e300,1", "x,1"], "bad.csv")
    assert "column 'y': '1e300' is beyond 1e+100" in read_error(data, bad, with_targets=True)[0]


def test_table_without_target_is_not_evaluated(tmp_path: Path) -> None:
    data = load(write(tmp_path, people()), target=None)  # type: ignore[arg-type]
    path = write(tmp_path, people(), "new.csv")
    assert read_error(data, path, with_targets=True)[0] == "input: the data of this run has no target column"


@pytest.mark.parametrize("column", ["colour", 1, "1"])
def test_identifier_replaces_the_row_number(data: CSV, tmp_path: Path, column: str | int) -> None:
    path = write(tmp_path, many(), "new.csv")
    if column == "1":
        assert read_error(data, path, id_column="1")[0].startswith("id_column: no column '1' in")
        return
    columns = read(data, path, id_column=column)[0].get_output_columns(5)
    assert list(columns) == ["colour"]
    assert columns["colour"][:3] == ["red", "green", "blue"]


@pytest.mark.parametrize(
    ("nan", "message"), [("fill", None), ("drop", "column 'size': missing value ('?')"), ("error", "missing value")]
)
def test_missing_numbers_follow_the_training_rows(
    tmp_path: Path, nan: str, message: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    lines = with_gaps() if nan != "error" else [line.replace("?", "7") for line in with_gaps()]
    data = load(write(tmp_path, lines), nan=nan)
    path = write(tmp_path, ["size,colour", "?,a", "1,"], "new.csv")
    if message is not None:
        assert message in read_error(data, path)[0]
        assert sum(map(len, read(data, path, on_error="skip"))) == 1
        return
    (split,) = read(data, path)
    assert split.inputs["x"][0, :2].tolist() == [0, 1]
    text = write(tmp_path, ["size,colour", "abc,a"], "text.csv")
    with caplog.at_level(logging.WARNING):
        read(data, text)
    assert "column 'size': 'abc' is not a number; the mean is imputed (1 such cells)" in caplog.text
