"""Delimited files in chunks: the rows, numbers and errors of the file read whole."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest

from trainer.data.readers import delimited
from trainer.data.readers.skipped_rows import SkippedRows
from trainer.data.readers.table import Table
from trainer.utils.errors import DataError

ROWS = [f"{i},{'red' if i % 3 else 'green'},{i * 0.5}" for i in range(1000)]
LINES = ["a,b,c", *ROWS]
FILES: dict[str, bytes] = {
    "plain": "\n".join(LINES).encode(),
    "CRLF": "\r\n".join(LINES).encode(),
    "CR": "\r".join(LINES).encode(),
    "byte order mark": b"\xef\xbb\xbf" + "\n".join(LINES).encode(),
    "separator": "\n".join(["sep=;", *(line.replace(",", ";") for line in LINES)]).encode(),
    "quoted newlines": "\n".join(["a,b", *(f'{i},"x\ny{i}, ""z"""' for i in range(600))]).encode(),
    "CRLF in quotes": "\r\n".join(["a,b", *(f'{i},"x\r\ny{i}"' for i in range(600))]).encode(),
    "CR in quotes": "\n".join(["a,b", *(f'{i},"x\ry{i}"' for i in range(600))]).encode(),
    "blank lines": "\n\n".join(LINES).encode() + b"\n\n , ,\n\n",
    "no header": "\n".join(ROWS).encode(),
    "trailing spaces": "\n".join(line.replace(",", " , ") for line in LINES).encode(),
    "few rows": b"a,b\n1,x\n",
}
BAD_FILES: dict[str, bytes] = {
    "ragged": "\n".join([*LINES, "1,2", "3", *ROWS, "1,2,3,4"]).encode(),
    "ragged first": "\n".join(["a,b", *ROWS]).encode(),
    "unclosed quote": "\n".join([*LINES, '1,"red,2', *ROWS]).encode(),
    "stray quote": "\n".join([*LINES, '1,"red"x,2', *ROWS]).encode(),
    "latin-1": "\n".join(LINES).encode() + "\n1,grün,2".encode("latin-1"),
    "cut character": "\n".join([*LINES, "1,ü"]).encode()[:-1],
    "empty": b"",
    "blank": b"\n \n\n",
    "header only": b"a,b,c\n",
    "PNG": b"\x89PNG\r\n\x1a\n",
    "binary": b"a,b\n\0\0\0",
}


def write(path: Path, content: bytes) -> str:
    file = path / "t.csv"
    file.write_bytes(content)
    return str(file)


def read_chunks(path: str, skipped: SkippedRows | None = None, **changes: Any) -> list[Table]:
    options = {"delimiter": None, "header": "auto", "encoding": "utf-8"} | changes
    return list(delimited.read_chunks(path, "input", **options, skipped=skipped))  # type: ignore[arg-type]


@pytest.fixture
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "CHUNK_CELLS", 50)
    monkeypatch.setattr(delimited, "BLOCK_ROWS", 7)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("name", FILES)
def test_chunks_have_the_rows_of_the_whole_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, FILES[name])
    whole, chunks = delimited.read(path, "input", None, "auto", "utf-8"), read_chunks(path)
    assert (len(chunks) > 1) == (name != "few rows")
    for chunk in chunks:
        assert (chunk.names, chunk.has_header, chunk.path) == (whole.names, whole.has_header, whole.path)
    for place, column in enumerate(whole.columns):
        assert [cell for chunk in chunks for cell in chunk.columns[place]] == list(column)
    assert [line for chunk in chunks for line in chunk.lines] == list(whole.lines)
    assert [number for chunk in chunks for number in chunk.numbers] == list(range(1, len(whole) + 1))
    assert chunks[-1].describe_cell(len(chunks[-1]) - 1, 1) == whole.describe_cell(len(whole) - 1, 1)


def test_cells_are_those_of_the_csv_module(tmp_path: Path) -> None:
    path = write(tmp_path, FILES["quoted newlines"])
    with open(path, newline="") as file:
        expected = list(csv.reader(file))
    table = delimited.read(path, "input", None, "auto", "utf-8")
    assert [table.names, *map(list, zip(*table.columns, strict=True))] == expected


def test_utf_16_is_read_in_chunks(tmp_path: Path) -> None:
    path = write(tmp_path, "\n".join(LINES).encode("utf-16"))
    tables = read_chunks(path, encoding="utf-16")
    assert tables[0].names == ["a", "b", "c"]
    assert sum(map(len, tables)) == len(ROWS)


@pytest.mark.usefixtures("_small_chunks")
@pytest.mark.parametrize("name", BAD_FILES)
def test_chunks_have_the_error_of_the_whole_file(tmp_path: Path, name: str) -> None:
    path = write(tmp_path, BAD_FILES[name])
    with pytest.raises(DataError) as whole:
        delimited.read(path, "input", None, "auto", "utf-8")
    with pytest.raises(DataError) as chunks:
        read_chunks(path)
    assert chunks.value.problems == whole.value.problems
    assert len(whole.value.problems) == 1


def test_messages_name_the_line_and_the_number_of_ragged_lines(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"t\.csv: line 1002 has 2 cells, the first has 3; 3 such lines \(delimiter"):
        read_chunks(write(tmp_path, BAD_FILES["ragged"]))
    with pytest.raises(DataError, match=r"t\.csv: line 1002 cannot be read as CSV: unclosed quotation mark"):
        read_chunks(write(tmp_path, BAD_FILES["unclosed quote"]))
    with pytest.raises(DataError, match=r"t\.csv is not utf-8 text at line 1002; convert it to utf-8"):
        read_chunks(write(tmp_path, BAD_FILES["latin-1"]))


def test_unclosed_quote_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "MAX_CELL_CHARS", csv.field_size_limit())
    path = write(tmp_path, b'a,b\n1,"x\n' + b"1,2\n" * 100_000)
    with pytest.raises(DataError, match=r"line 2 cannot be read as CSV: unclosed quotation mark"):
        read_chunks(path)


@pytest.mark.usefixtures("_small_chunks")
def test_ragged_rows_are_left_out_and_keep_the_numbers_of_the_others(tmp_path: Path) -> None:
    skipped = SkippedRows()
    tables = read_chunks(write(tmp_path, BAD_FILES["ragged"]), skipped)
    numbers = [number for table in tables for number in table.numbers]
    assert skipped.count == 3
    assert sorted({*range(1, 2004)} - {*numbers}) == [1001, 1002, 2003]
    assert skipped.describe()[0].endswith("t.csv: row 1001: line 1002 has 2 cells, the first has 3")


def test_first_skipped_rows_are_described_in_order() -> None:
    skipped = SkippedRows()
    for number in (9, 3, 7, 1, 8, 2, 5):
        skipped.add(number, f"row {number}")
    assert skipped.describe() == ["row 1", "row 2", "row 3", "row 5", "row 7", "and 2 more rows"]
