"""Other runs of region time series: folders, labels, regions by name, and runs in memory."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from tests.helpers.region_tables import NAMES, read_tables, write_table, write_tables
from trainer.core.split import Split
from trainer.data.datasets.graph import parcel_series
from trainer.data.datasets.graph.parcel_series import ParcelSeries
from trainer.utils.errors import DataError


@pytest.fixture
def data(tmp_path: Path) -> ParcelSeries:
    """Data whose tables are gone."""
    loaded = read_tables(write_tables(tmp_path / "training"))
    shutil.rmtree(tmp_path / "training")
    return loaded


def draw(steps: int = 6) -> np.ndarray:
    return np.random.default_rng(steps).normal(size=(steps, len(NAMES)))


def read_inputs(split: Split) -> torch.Tensor:
    return split.to_model_inputs(split.batch(torch.arange(len(split)), 0)).inputs["x"]


def test_tables_are_found_in_all_folders_and_encoded_like_training_rows(tmp_path: Path) -> None:
    folder = write_tables(tmp_path / "training")
    data = read_tables(folder)
    title, names = data.test.get_row_names(0)
    assert title == "file"
    (split,) = data.read_chunks(str(folder))
    order = [split.get_row_names(1)[1].index(name) for name in names]
    expected, found = data.test.batch(torch.arange(len(names)), 0), split.batch(torch.tensor(order), 0)
    assert torch.equal(expected.inputs["x"], found.inputs["x"])
    shared = (each.to_model_inputs(batch).inputs for each, batch in ((data.test, expected), (split, found)))
    assert torch.equal(*(inputs["edge_index"] for inputs in shared))
    (labeled,) = data.read_chunks(str(folder), with_targets=True)
    assert torch.equal(labeled.get_targets()[order], data.test.get_targets())  # type: ignore[index]


def test_regions_are_matched_by_name(data: ParcelSeries, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    values, order = draw(), [3, 0, 4, 1, 2]
    write_table(tmp_path / "new" / "a.csv", values)
    expected = read_inputs(data.read(str(tmp_path / "new")))
    write_table(tmp_path / "new" / "a.csv", values[:, order], tuple(NAMES[i] for i in order))
    assert torch.equal(read_inputs(data.read(str(tmp_path / "new"))), expected)
    frame = pd.DataFrame(values, columns=list(NAMES))
    for rows in (values, torch.from_numpy(values), frame, [frame[["side", *NAMES[:4]]]], values[None]):
        assert torch.equal(read_inputs(data.encode_rows(rows)), expected)
    with caplog.at_level(logging.WARNING):
        extra = frame.assign(stem=1.0)
        assert torch.equal(read_inputs(data.encode_rows([extra])), expected)
    assert "regions that this run does not have are ignored: stem" in caplog.text
    write_table(tmp_path / "new" / "a.csv", values, ("lefd", *NAMES[1:]))
    with pytest.raises(DataError, match=r"a\.csv lacks regions of this run: left; did you mean lefd\?"):
        data.read(str(tmp_path / "new"))


def test_labels_come_from_a_table_or_the_folders(data: ParcelSeries, tmp_path: Path) -> None:
    folder = tmp_path / "new"
    for name in ("a.csv", "wild/b.csv", "calm/deep/c.csv"):
        write_table(folder / name, draw())
    (split,) = data.read_chunks(str(folder))
    assert split.get_row_names(1) == ("file", ["a.csv", "calm/deep/c.csv", "wild/b.csv"])
    assert split.get_targets() is None
    with pytest.raises(DataError, match=r"a\.csv has no label; add labels\.csv"):
        list(data.read_chunks(str(folder), with_targets=True))
    with pytest.raises(DataError, match=r"b\.csv has no label; give a folder with labels\.csv"):
        list(data.read_chunks(str(folder / "wild" / "b.csv"), with_targets=True))
    (folder / "labels.csv").write_text("file,label\nwild/b.csv,calm\na.csv,wild\n")
    (split,) = data.read_chunks(str(folder), with_targets=True)
    assert split.get_row_names(1) == ("file", ["wild/b.csv", "a.csv"])
    targets = split.get_targets()
    assert targets is not None
    assert targets.tolist() == [0, 1]
    (folder / "labels.csv").write_text("file,label\na.csv,wilde\n")
    with pytest.raises(
        DataError, match=r"a\.csv: 'wilde' is not a class of this run \(calm, wild\); did you mean wild\?"
    ):
        list(data.read_chunks(str(folder), with_targets=True))
    (folder / "labels.csv").write_text("file,label\n../x.csv,wild\n")
    with pytest.raises(DataError, match=r"'\.\./x\.csv' is outside of"):
        list(data.read_chunks(str(folder)))


def test_many_runs_are_read_in_chunks(data: ParcelSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for run in range(5):
        write_table(tmp_path / "new" / f"{run}.npy", draw(5 + run))
    monkeypatch.setattr(parcel_series, "CHUNK_RUNS", 2)
    chunks = list(data.read_chunks(str(tmp_path / "new")))
    assert [chunk.get_row_names(1)[1] for chunk in chunks] == [["0.npy", "1.npy"], ["2.npy", "3.npy"], ["4.npy"]]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((5, 4)), r"has 4 regions; this run was trained on 5"),
        ([np.zeros(5)], r"rows: run 1 has the shape \(5,\)"),
        ([], r"list without runs given"),
        ("a.npy", r"str without runs given"),
        ([["x"]], r"run 1 is not an array of numbers"),
        (np.full((5, 5), np.nan), r"run 1: step 1, region 1 is missing or not finite"),
    ],
)
def test_other_objects_are_refused(data: ParcelSeries, rows: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        data.encode_rows(rows)
