"""Tables in Parquet files: encoded like the CSV file that pandas writes from the same frame."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.small_tables import load, write
from trainer.data.datasets.tabular.csv_table import CSV
from trainer.data.readers import delimited
from trainer.utils.errors import DataError

pandas = pytest.importorskip("pandas")
pytest.importorskip("pyarrow")


def make_frame(rows: int = 300) -> Any:
    number = np.arange(rows)
    day = pandas.Timestamp("2024-01-01") + pandas.to_timedelta(number % 3, unit="D")
    return pandas.DataFrame(
        {
            "count": number % 5,
            "size": (number * 0.1).astype(np.float32),
            "gap": np.where(number % 4, number * 0.5, np.nan),
            "code": pandas.array(np.where(number % 6, number % 3, None), dtype="Int64"),
            "on": number % 2 == 0,
            "day": day,
            "kind": np.where(number % 7, "a", None),
            "label": np.where(number % 2, "yes", "no"),
        }
    )


@pytest.fixture
def data(tmp_path: Path) -> CSV:
    make_frame().to_csv(tmp_path / "t.csv", index=False)
    return load(tmp_path / "t.csv", "label", nan="fill", categorical=["code", "on", "day"])


def test_parquet_is_encoded_like_csv(data: CSV, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delimited, "CHUNK_CELLS", 400)
    frame = make_frame().sample(frac=1, random_state=0)
    frame.to_csv(tmp_path / "new.csv", index=False)
    frame.to_parquet(tmp_path / "new.parquet", index=False)
    expected, found = (
        list(data.read_chunks(str(tmp_path / f"new.{suffix}"), with_targets=True, id_column="kind"))
        for suffix in ("csv", "parquet")
    )
    assert len(found) > 1
    for name in ("x", "target"):
        first, second = (
            torch.cat([split.inputs["x"] if name == "x" else split.require_target() for split in splits])  # type: ignore[attr-defined]
            for splits in (expected, found)
        )
        assert torch.equal(first, second)
    assert torch.equal(data.encode_rows(frame).inputs["x"], torch.cat([split.inputs["x"] for split in found]))  # type: ignore[attr-defined]
    names = [name for split in found for name in split.get_output_columns(0)["kind"]]
    assert names == frame["kind"].fillna("").tolist()


def test_bad_cells_are_named_by_row(data: CSV, tmp_path: Path) -> None:
    frame = make_frame().astype({"count": object})
    frame.loc[250, "count"] = "many"
    frame["count"] = frame["count"].astype(str)
    frame.to_parquet(tmp_path / "new.parquet")
    with pytest.raises(DataError, match=r"new\.parquet: row 251, column 'count': 'many' is not a finite number; 1"):
        list(data.read_chunks(str(tmp_path / "new.parquet")))
    (split,) = data.read_chunks(str(tmp_path / "new.parquet"), on_error="skip")
    assert 251 not in split.get_output_columns(0)["row"]
    assert len(split) == 299


def test_other_files_are_refused(data: CSV, tmp_path: Path) -> None:
    path = write(tmp_path, ["a,b"], "new.parquet")
    with pytest.raises(DataError, match=r"input: .*new\.parquet is not a Parquet file: "):
        list(data.read_chunks(str(path)))
    make_frame(0).to_parquet(path)
    with pytest.raises(DataError, match=r"input: .*new\.parquet has no rows"):
        list(data.read_chunks(str(path)))
    make_frame().to_parquet(path)
    path.write_bytes(path.read_bytes()[: os.path.getsize(path) // 2])
    with pytest.raises(DataError, match="is not a Parquet file"):
        list(data.read_chunks(str(path)))
    with pytest.raises(DataError, match="does not exist"):
        list(data.read_chunks(str(tmp_path / "nope.parquet")))


def test_missing_package_is_named(data: CSV, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_frame().to_parquet(tmp_path / "new.parquet")
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'train-zoo\[parquet\]'"):
        list(data.read_chunks(str(tmp_path / "new.parquet")))
