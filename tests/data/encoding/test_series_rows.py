"""Histories in memory: arrays, data frames, mappings and lists, compared with the same rows of a file."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.helpers.series_files import hourly_lines, write_lines
from trainer.data.datasets.series.csv_series import CSVSeries
from trainer.data.splits.windows import WindowSplit
from trainer.utils.errors import DataError


def make_data(folder: Path, **options: Any) -> CSVSeries:
    return CSVSeries(
        str(write_lines(folder, hourly_lines())), **{"time": "when", "history": 10, "horizon": 3} | options
    )


def make_frame(count: int = 40) -> pd.DataFrame:
    rows = [line.split(",") for line in hourly_lines(count)]
    return pd.DataFrame(rows[1:], columns=rows[0]).astype({"a": float, "b": float})


def read_input(split: WindowSplit) -> torch.Tensor:
    assert len(split) == 1
    return split.batch(torch.arange(1), 0).inputs["x"]


def read_times(split: WindowSplit) -> list[Any]:
    (names,) = split.get_target_columns().values()
    return names[0].tolist()


def test_histories_of_all_kinds_are_the_rows_of_a_file(tmp_path: Path) -> None:
    data, frame = make_data(tmp_path), make_frame()
    path = tmp_path / "other.csv"
    frame.to_csv(path, index=False)
    expected = read_input(data.read(str(path)))
    indexed = frame.drop(columns="when").set_index(pd.DatetimeIndex(frame["when"]))
    values = frame[["a", "b"]].to_numpy()
    kinds: dict[str, Any] = {
        "frame": frame,
        "other order": frame[["b", "when", "a"]],
        "index": indexed,
        "named index": frame.set_index("when"),
        "array": values,
        "tensor": torch.from_numpy(values),
        "nested lists": values.tolist(),
        "mapping": {name: frame[name].tolist() for name in frame},
        "mapping of numbers": {"a": values[:, 0], "b": values[:, 1]},
        "list of mappings": frame.to_dict("records"),
        "texts": frame.astype(str),
        "nullable": frame.convert_dtypes(),
    }
    for name, rows in kinds.items():
        assert torch.equal(read_input(data.encode_rows(rows)), expected), name
    texts = ["2020-01-02 16:00", "2020-01-02 17:00", "2020-01-02 18:00"]
    for name in ("frame", "named index", "mapping", "list of mappings", "texts"):
        assert read_times(data.encode_rows(kinds[name])) == texts, name
    assert read_times(data.encode_rows(indexed)) == [datetime(2020, 1, 2, hour) for hour in (16, 17, 18)]
    assert read_times(data.encode_rows(values)) == [41, 42, 43], "row numbers"


def test_one_series_may_have_any_name(tmp_path: Path) -> None:
    data, frame = make_data(tmp_path, columns=["b"]), make_frame()
    expected = read_input(data.encode_rows(frame[["b"]]))
    values = frame["b"].to_numpy()
    for rows in (
        values,
        values[:, None],
        frame["b"],
        frame["b"].rename("other"),
        frame["b"].rename(None),
        values.tolist(),
    ):
        assert torch.equal(read_input(data.encode_rows(rows)), expected)


@pytest.mark.parametrize(
    ("frequency", "zone"),
    [("h", None), ("h", "Europe/Berlin"), ("D", "Europe/Berlin"), ("ME", None), ("B", None), ("MS", "US/Eastern")],
)
def test_times_continue_like_an_index_of_pandas(tmp_path: Path, frequency: str, zone: str | None) -> None:
    # The clocks change in the history and in the forecast.
    times = pd.date_range("2024-03-30 20:00", periods=230, freq=frequency, tz=zone)
    lines = [f"{time.tz_localize(None)},{row},1{row}" for row, time in enumerate(times[:200])]
    data = CSVSeries(str(write_lines(tmp_path, ["when,a,b", *lines])), time="when", history=10, horizon=30, gaps="drop")
    frame = pd.DataFrame({"a": np.arange(200.0), "b": np.arange(200.0)}, index=times[:200])
    found = pd.Series(read_times(data.encode_rows(frame)))
    assert (found == pd.Series(times[200:230])).all()
    assert (found.dt.tz_localize(None) == times[200:230].tz_localize(None)).all(), "the local clock"


def test_periods_continue(tmp_path: Path) -> None:
    data = make_data(tmp_path)
    index = pd.period_range("2020Q1", periods=12, freq="Q")
    frame = pd.DataFrame({"a": np.arange(12.0), "b": np.arange(12.0)}, index=index)
    assert read_times(data.encode_rows(frame)) == [datetime(2023, month, 1) for month in (1, 4, 7)]


def test_numbers_in_memory_have_no_decimal_comma(tmp_path: Path) -> None:
    lines = [line.replace(",", ";").replace(".", ",") for line in hourly_lines()]
    data = CSVSeries(str(write_lines(tmp_path, lines)), time="when", history=10, horizon=3, decimal="comma")
    values = make_frame()[["a", "b"]].to_numpy()
    moments = data.schema.moments
    scaled = (values[-10:] - moments["mean"]) / moments["std"]
    assert np.allclose(read_input(data.encode_rows(values))[0], scaled, atol=1e-6)


def test_missing_values_are_treated_as_in_training(tmp_path: Path) -> None:
    frame = make_frame()
    frame.loc[36, "a"] = None
    with pytest.raises(DataError, match=r"rows: row 37, column 'a': missing value \(''\) at 2020-01-02 12:00"):
        make_data(tmp_path).encode_rows(frame)
    filled = read_input(make_data(tmp_path, gaps="interpolate").encode_rows(frame))
    assert torch.allclose(filled, read_input(make_data(tmp_path).encode_rows(make_frame())), atol=1e-6)
    coded = make_frame()
    coded.loc[36, "a"] = -999
    with pytest.raises(DataError, match=r"missing value \('-999\.0'\)"):
        make_data(tmp_path, missing=["-999"]).encode_rows(coded)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((40, 3)), r"an array of shape \(40, 3\) given; it must be \(steps, 2\), with the columns a, b"),
        (np.zeros(40), r"an array of shape \(40,\) given"),
        (np.zeros((9, 2)), r"rows has 9 rows; the history of this run is 10"),
        (np.zeros((0, 2)), r"no steps given"),
        (np.full((40, 2), np.inf), r"rows: row 1, column 'a': 'inf' is not a finite number"),
        ([[1, 2], [3]], r"cannot be converted to an array of numbers"),
        ({"a": [1.0] * 12, "b": [1.0] * 11}, r"columns of 11, 12 steps given"),
        ({"a": [1.0] * 12}, r"no column 'b' in rows"),
        ({"a": 1.0, "b": 2.0}, r"1\.0 given as a column; it must be a list"),
        ({"a": ["x"] * 12, "b": [1.0] * 12}, r"rows: row 1, column 'a': 'x' is not a finite number"),
        ([], r"an array of shape \(0,\)"),
        (3, r"int given; it must be an array \(steps, 2\), a data frame"),
        ({"when": [datetime(2020, 1, 1)] * 12, "a": [1] * 12, "b": [1] * 12}, r"is not later than"),
    ],
)
def test_other_objects_are_refused(tmp_path: Path, rows: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        make_data(tmp_path).encode_rows(rows)
