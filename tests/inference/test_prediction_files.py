"""Files of predictions: the same cells in every format, complete or not at all."""

from __future__ import annotations

import csv
import errno
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.core.prediction_columns import Column
from trainer.inference import prediction_files
from trainer.utils.errors import ConfigError, SystemFault

SUFFIXES = tuple(prediction_files.WRITERS)
CHUNKS: list[dict[str, Column]] = [
    {
        "file": ["a,b.png", 'say "x"', "two\nlines"],
        "row": range(1, 4),
        "label": ["ja", None, "日本語 \t"],
        "code": [7, 8, 9],
        "p_x": np.array([0.1, np.nan, 1e-30]),
        "value": np.array([np.inf, -0.0, 16777216.0], dtype=np.float32),
        "many": np.array([[1.5, 2.5], [np.nan, 0.0], [3.0, 4.0]]),
        "is_known": np.array([True, False, True]),
    },
    {
        "file": ["\r", "", "=1+1"],
        "row": range(4, 7),
        "label": [None, "x", "nan"],
        "code": [1, 2, 3],
        "p_x": np.array([1.0, 0.25, 1 / 3]),
        "value": np.array([0.1, 1e20, -1.0], dtype=np.float32),
        "many": np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]),
        "is_known": np.array([False, False, True]),
    },
]


def write(path: Path, *chunks: Mapping[str, Column]) -> Path:
    with prediction_files.open_writer(path) as writer:
        for chunk in chunks or CHUNKS:
            writer.write(chunk)
    return path


def expect(name: str) -> list[Any]:
    """Return the cells of a column of all chunks as Python values, NaN as None."""
    cells = [cell for chunk in CHUNKS for cell in (np.asarray(chunk[name]).tolist())]
    return [None if isinstance(cell, float) and math.isnan(cell) else cell for cell in cells]


def test_csv_is_read_by_the_csv_module_and_by_pandas(tmp_path: Path) -> None:
    path = write(tmp_path / "p.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, strict=True))
    assert b"\r\n" not in path.read_bytes()
    for name in ("file", "label"):
        assert [row[name] for row in rows] == ["" if cell is None else cell for cell in expect(name)]
    assert [row["row"] for row in rows] == list("123456")
    assert [float(row["p_x"]) if row["p_x"] else None for row in rows] == expect("p_x")
    assert [row["value"] for row in rows] == ["inf", "-0.0", "1.6777216e+07", "0.1", "1e+20", "-1.0"]
    assert [json.loads(row["many"]) for row in rows][:2] == [[1.5, 2.5], [None, 0.0]]
    frame = pytest.importorskip("pandas").read_csv(path, keep_default_na=False, na_values={"p_x": ""})
    np.testing.assert_array_equal(frame["p_x"], np.concatenate([chunk["p_x"] for chunk in CHUNKS]))
    assert frame["file"].tolist() == expect("file")


def test_json_lines_are_strict_json(tmp_path: Path) -> None:
    def refuse(text: str) -> None:
        raise AssertionError(f"{text} is not JSON")

    lines = write(tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    for name in CHUNKS[0].keys() - {"value", "many"}:
        assert [row[name] for row in rows] == expect(name)
    assert [row["value"] for row in rows[:2]] == [None, 0.0]
    assert rows[1]["many"] == [None, 0.0]


def test_parquet_keeps_types_over_chunks(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(write(tmp_path / "p.parquet"))
    types = {field.name: str(field.type) for field in table.schema}
    assert types == {
        **{"file": "string", "row": "int64", "label": "string", "code": "int64", "p_x": "double", "value": "float"},
        **{"many": "list<element: double>", "is_known": "bool"},
    }
    for name in CHUNKS[0].keys() - {"p_x", "many"}:
        assert table[name].to_pylist() == expect(name)
    np.testing.assert_array_equal(table["p_x"].to_numpy(), np.concatenate([chunk["p_x"] for chunk in CHUNKS]))


def test_parquet_column_without_values_at_first_holds_texts(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    path = write(tmp_path / "p.parquet", {"label": [None, None]}, {"label": ["x", None]})
    assert parquet.read_table(path)["label"].to_pylist() == [None, None, "x", None]
    with pytest.raises(ConfigError, match=r"output: cells of 'label' differ in type .*use \.jsonl"):
        write(tmp_path / "q.parquet", {"label": [1, 2]}, {"label": ["x"]})
    assert sorted(tmp_path.iterdir()) == [path]


def test_npz_holds_arrays_without_pickles(tmp_path: Path) -> None:
    with np.load(write(tmp_path / "p.npz"), allow_pickle=False) as arrays:
        assert set(arrays) == set(CHUNKS[0])
        assert arrays["label"].tolist() == ["ja", "", "日本語 \t", "", "x", "nan"]
        for name in ("row", "code", "p_x", "value", "many", "is_known"):
            np.testing.assert_array_equal(arrays[name], np.concatenate([np.asarray(chunk[name]) for chunk in CHUNKS]))


@pytest.mark.parametrize(
    "chunks",
    [
        [{"text": [[1, 2], [3]]}],
        [{"text": [[1, 2], None]}],
        [{"text": np.zeros((2, 3))}, {"text": np.zeros((2, 4))}],
    ],
)
def test_npz_refuses_cells_of_unequal_length(tmp_path: Path, chunks: list[dict[str, Column]]) -> None:
    with pytest.raises(ConfigError, match=r"output: cells of 'text' differ in length, which \.npz cannot hold"):
        write(tmp_path / "p.npz", *chunks)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_lists_of_unequal_length_and_undecodable_names_are_written(tmp_path: Path, suffix: str) -> None:
    names = [os.fsdecode(b"caf\xe9.png"), "b.png"]
    columns: dict[str, Column] = {"file": names} if suffix == ".npz" else {"file": names, "text": [[1, 2], []]}
    content = write(tmp_path / f"p{suffix}", columns).read_bytes()
    assert content
    if suffix == ".csv":
        assert content.decode() == 'file,text\ncaf\\udce9.png,"[1, 2]"\nb.png,[]\n'


def write_and_raise(path: Path, error: BaseException) -> None:
    with prediction_files.open_writer(path) as writer:
        writer.write(CHUNKS[0])
        raise error


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("error", [ConfigError("bad"), KeyboardInterrupt(), RuntimeError("bug")])
def test_error_leaves_nothing_new(tmp_path: Path, suffix: str, error: BaseException) -> None:
    path = tmp_path / f"p{suffix}"
    path.write_text("old")
    with pytest.raises(type(error)):
        write_and_raise(path, error)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]
    assert write(path).read_bytes() != b"old"


class FullFile:
    """A file on a full disk."""

    def __init__(self, file: Any):
        self._file = file

    def __getattr__(self, name: str) -> Any:
        if name in ("write", "flush"):
            return self._fail
        return getattr(self._file, name)

    def _fail(self, *_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self._file.close()
        self._fail()


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_full_disk_is_a_system_fault(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Path.open
    monkeypatch.setattr(Path, "open", lambda self, *args, **options: FullFile(original(self, *args, **options)))
    with pytest.raises(SystemFault, match=rf"cannot write .*p\{suffix}: No space left on device; .* MB free"):
        write(tmp_path / f"p{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_outputs_that_would_destroy_a_file_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    run_dir, data = tmp_path / "run", tmp_path / "rows.csv"
    run_dir.mkdir()
    data.write_text("a")
    (run_dir / "metrics.csv").write_text("a")
    graph = tmp_path / "graph"
    (graph / "parts").mkdir(parents=True)
    (graph / "parts/nodes.csv").write_text("a")
    (tmp_path / "link.csv").symlink_to(data)
    prediction_files.check_output(tmp_path / "new.csv", run_dir, [data])
    prediction_files.check_output(run_dir / "new.csv", run_dir, [data])
    for path, message in (
        (data, "rows.csv is a file that is read; give another name"),
        (tmp_path / "link.csv", "link.csv is a file that is read"),
        (graph / "parts/nodes.csv", "nodes.csv is a file that is read"),
        (run_dir / "metrics.csv", "metrics.csv exists in the run directory"),
        (tmp_path, "the suffix must be one of .csv, .parquet, .jsonl, .npz"),
        (tmp_path / "nope" / "p.csv", "does not exist; the nearest directory that exists is"),
        (tmp_path / "p.parq", "the suffix must be .*did you mean .parquet"),
    ):
        with pytest.raises(ConfigError, match=message):
            prediction_files.check_output(path, run_dir, [Path("~/rows.csv"), graph])
    prediction_files.check_output(graph / "parts/new.csv", run_dir, [graph])


def test_directory_without_permission_is_a_system_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(SystemFault, match=r"output: .* is not writable"):
        prediction_files.check_output(tmp_path / "p.csv", tmp_path / "run")
