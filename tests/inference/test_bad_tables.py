"""Files that are not the table a run expects: one sentence, exit code 2, and nothing is written."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.in_process import run_main
from tests.helpers.marks import mark_slow_after
from tests.helpers.table_runs import COLUMNS, make_rows, train_on_table, write_rows


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("run"))
        return train_on_table("label")


def change(row: int, column: str, cell: str) -> Callable[[Path], object]:
    """Return a function that writes a table with one changed cell; rows count from 1."""

    def write(path: Path) -> None:
        rows = make_rows(30, 2)
        rows[row - 1][COLUMNS.index(column)] = cell
        write_rows(path, rows)

    return write


def write_text(text: str) -> Callable[[Path], object]:
    return lambda path: path.write_text(text)


def write_bytes(content: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(content)


def write_array(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, np.zeros(3))


def write_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.csv", "a,b")


GOOD_ROW = "0.5,red,3,low,900\n"
HEADER = ",".join(COLUMNS) + "\n"
FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "text for a number": (
        change(17, "size", "big"),
        "row 17 (line 18), column 'size': 'big' is not a finite number; 1",
    ),
    "missing number": (change(2, "weight", ""), "row 2 (line 3), column 'weight': missing value ('')"),
    "infinite number": (change(2, "weight", "inf"), "row 2 (line 3), column 'weight': 'inf' is not a finite number"),
    "code for a missing number": (change(2, "weight", "1.7976931348623157e308"), "too large to compute with"),
    "number far away": (change(2, "weight", "1e90"), "is more than 1e+15 standard deviations from the mean"),
    "decimal comma": (change(3, "size", "0,5"), "column 'size': '0,5' is not a finite number"),
    "thousands separator": (change(3, "weight", "1,000"), "column 'weight': '1,000' is not a finite number"),
    "no file": (lambda _: None, "does not exist"),
    "folder": (Path.mkdir, "is a folder (empty); give a file in it"),
    "empty": (write_text(""), "is empty"),
    "header only": (write_text(HEADER), "has a header but no rows"),
    "blank lines": (write_text("\n\n \n"), "is empty"),
    "missing column": (
        write_text("size,color,weight\n0.5,red,3\n"),
        "columns of the training data: colour; did",
    ),
    "other columns": (write_text("a,b\n1,2\n"), "columns"),
    "too few cells": (write_text(HEADER + GOOD_ROW + "0.5,red\n" + GOOD_ROW), "line 3 has 2 cells, the first has 5"),
    "unclosed quote": (write_text(HEADER + GOOD_ROW + '"0.5,red,3\n' + GOOD_ROW), "line 3 cannot be read as CSV: uncl"),
    "PNG": (write_bytes(b"\x89PNG\r\n\x1a\n\0\0"), "is not a table of text but a PNG image"),
    "gzip": (write_bytes(gzip.compress(HEADER.encode())), "is not a table of text but a gzip archive; unpack it"),
    "zip": (write_archive, "is not a table of text but a zip archive or an Office document"),
    "Parquet": (write_bytes(b"PAR1\0\0"), "is not a table of text but a Parquet file"),
    "UTF-16": (write_bytes((HEADER + GOOD_ROW).encode("utf-16")), "but UTF-16 text; convert it to utf-8"),
    "latin-1": (
        write_bytes((HEADER + "0.5,grün,3,low,9\n").encode("latin-1")),
        "text at line 2; convert it to utf-8",
    ),
    "array": (write_array, "is not a table of text but binary"),
}
LABELS: dict[str, tuple[Callable[[Path], object], str]] = {
    "unknown class": (
        change(9, "label", "hihg"),
        "column 'label': 'hihg' is not a class of this run; did you mean high?",
    ),
    "missing class": (change(9, "label", "?"), "row 9 (line 10), column 'label': missing value ('?')"),
    "no target": (write_text("size,colour,weight\n0.5,red,3\n"), "has no target column 'label' (columns: size, colour"),
}


@pytest.mark.parametrize(
    ("verb", "name"),
    mark_slow_after(
        14,
        [
            *((verb, name) for name in FILES for verb in ("predict", "evaluate")),
            *(("evaluate", name) for name in LABELS),
        ],
    ),
)
def test_bad_file_is_refused_in_a_sentence(
    run: Path, tmp_path: Path, verb: str, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write, message = (FILES | LABELS)[name]
    monkeypatch.chdir(tmp_path)
    write(Path("rows.csv"))
    before = sorted(Path(tmp_path).rglob("*")), sorted(run.rglob("*"))
    output = {"predict": "p.csv", "evaluate": "e.json"}[verb]
    code, err = run_main(capsys, monkeypatch, verb, str(run), "input=rows.csv", f"output={output}")
    assert code == 2
    assert message in err
    assert "rows.csv" in err
    lines = err.splitlines()
    assert len(lines) <= 4
    assert lines[0].startswith("error: ")
    assert (sorted(Path(tmp_path).rglob("*")), sorted(run.rglob("*"))) == before
