"""Other files of a series: columns, history, rolling windows, gaps, and refusals."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.series_files import hourly_lines, write_lines
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.split import Split
from trainer.data.datasets.series.csv_series import CSVSeries
from trainer.data.encoding import forecast_dataset
from trainer.data.splits.windows import WindowSplit
from trainer.utils.errors import DataError

HISTORY, HORIZON = 10, 5


def make_data(path: Path, **options: Any) -> CSVSeries:
    return CSVSeries(str(path), **{"history": HISTORY, "horizon": HORIZON} | options)


@pytest.fixture
def data(tmp_path: Path) -> CSVSeries:
    """Data of hourly rows, whose file is gone."""
    path = write_lines(tmp_path, hourly_lines())
    loaded = make_data(path, time="when")
    path.unlink()
    return loaded


def write_file(folder: Path, lines: Sequence[str]) -> str:
    path = folder / "other.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


def read_windows(data: CSVSeries, path: str, **options: Any) -> np.ndarray:
    """Return the inputs, and the targets if there are any, (N, T, F), in the units of the file."""
    steps = []
    for split in data.read_chunks(path, **options):
        batch = split.batch(torch.arange(len(split)), 0)
        parts = [batch.inputs["x"]] if batch.target is None else [batch.inputs["x"], batch.target]
        steps.append(torch.cat(parts, 1).double().numpy())
    moments = data.schema.moments
    return np.concatenate(steps) * moments["std"] + moments["mean"]


def read_names(split: Split) -> tuple[list[Any], list[list[Any]]]:
    """Return origins and the steps that are predicted."""
    assert isinstance(split, WindowSplit)
    (targets,) = split.get_target_columns().values()
    return list(split.get_output_columns(1)["origin"]), targets.tolist()


def refusal(data: CSVSeries, path: str, **options: Any) -> str:
    with pytest.raises(DataError) as caught:
        list(data.read_chunks(path, **options))
    return str(caught.value)


def test_forecast_follows_the_last_rows(data: CSVSeries, tmp_path: Path) -> None:
    path = write_file(tmp_path, hourly_lines(200))
    (window,) = read_windows(data, path)
    assert np.allclose(window[:, 0], np.arange(190, 200), atol=1e-4)
    assert len(data.read(path)) == 1
    assert data.read(path).get_targets() is None
    assert read_names(data.read(path)) == (
        ["2020-01-09 07:00"],
        [["2020-01-09 08:00", "2020-01-09 09:00", "2020-01-09 10:00", "2020-01-09 11:00", "2020-01-09 12:00"]],
    )


def test_rolling_forecasts_have_every_origin(data: CSVSeries, tmp_path: Path) -> None:
    path = write_file(tmp_path, hourly_lines(30))
    windows = read_windows(data, path, rolling=True)
    assert np.allclose(windows[:, :, 0], np.arange(21)[:, None] + np.arange(HISTORY), atol=1e-4)
    assert np.allclose(read_windows(data, path, rolling=True, stride=4), windows[::4])
    origins, targets = read_names(next(data.read_chunks(path, rolling=True)))
    assert (origins[0], origins[-1], targets[-1][-1]) == ("2020-01-01 09:00", "2020-01-02 05:00", "2020-01-02 10:00")


def test_windows_with_targets_are_those_of_the_test_split(data: CSVSeries, tmp_path: Path) -> None:
    lines = hourly_lines()
    path = write_file(tmp_path, [lines[0], *lines[1 + 80 - HISTORY :]])
    (split,) = data.read_chunks(path, with_targets=True)
    batch, test = (each.batch(torch.arange(len(each)), 0) for each in (split, data.test))
    assert torch.equal(batch.inputs["x"], test.inputs["x"])
    assert torch.equal(batch.require_target(), test.require_target())
    assert read_names(split) == read_names(data.test)


def test_large_files_are_read_in_chunks(data: CSVSeries, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_file(tmp_path, hourly_lines(60))
    whole = read_windows(data, path, rolling=True)
    names = read_names(next(data.read_chunks(path, rolling=True)))
    monkeypatch.setattr(forecast_dataset, "CHUNK_VALUES", 7 * HORIZON * 2)
    chunks = list(data.read_chunks(path, rolling=True))
    assert [len(chunk) for chunk in chunks] == [7] * 7 + [2]
    assert np.array_equal(read_windows(data, path, rolling=True), whole)
    assert [origin for chunk in chunks for origin in read_names(chunk)[0]] == names[0]


# Columns.


def test_columns_are_matched_by_name(data: CSVSeries, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = hourly_lines(40)
    expected = read_windows(data, write_file(tmp_path, lines))
    reordered = [",".join(line.split(",")[i] for i in (2, 0, 1)) for line in lines]
    assert np.array_equal(read_windows(data, write_file(tmp_path, reordered)), expected)
    extra = [f"{line},{'c' if row == 0 else row}" for row, line in enumerate(lines)]
    with caplog.at_level(logging.WARNING):
        assert np.array_equal(read_windows(data, write_file(tmp_path, extra)), expected)
    assert "columns that are not in the training file are ignored: c" in caplog.text
    assert np.array_equal(read_windows(data, write_file(tmp_path, lines[1:])), expected), "without a header, by order"
    missing = [line.replace("when,a,b", "when,aa,b") for line in lines]
    assert "no column 'a'" in (message := refusal(data, write_file(tmp_path, missing)))
    assert "did you mean aa?" in message
    assert "no column 'when'" in refusal(data, write_file(tmp_path, [line.partition(",")[2] for line in lines]))
    narrow = [line.partition(",")[2] for line in lines[1:]]
    assert "has no header and 2 columns; the training file has 3" in refusal(data, write_file(tmp_path, narrow))


def test_columns_of_a_training_file_that_are_no_series_are_not_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_lines(tmp_path, hourly_lines())
    data = make_data(path, columns=["b"])
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert len(data.read(str(path))) == 1
        only_b = write_file(tmp_path, [line.split(",")[2] for line in hourly_lines()])
        assert np.array_equal(read_windows(data, only_b), read_windows(data, str(path)))
    assert caplog.text == ""
    assert read_names(data.read(str(path))) == ([100], [[101, 102, 103, 104, 105]])


def test_positions_select_columns_of_files_without_a_header(tmp_path: Path) -> None:
    rows = hourly_lines()[1:]
    data = make_data(write_lines(tmp_path, rows), time=0, columns=[2])
    expected = read_windows(data, write_file(tmp_path, rows))
    narrow = [",".join(row.split(",")[::2]) for row in rows]
    assert np.array_equal(read_windows(data, write_file(tmp_path, narrow)), expected)


# Gaps.


def lines_with_gap(first: int, last: int, count: int = 40) -> list[str]:
    return [line for row, line in enumerate(hourly_lines(count)) if not first <= row <= last]


def test_gaps_are_refused_in_the_history_only(data: CSVSeries, tmp_path: Path) -> None:
    message = refusal(data, write_file(tmp_path, lines_with_gap(35, 36)))
    assert "2 rows missing between 2020-01-02 09:00 and 2020-01-02 12:00" in message
    assert message.endswith("gaps=interpolate fills them linearly")
    early = write_file(tmp_path, lines_with_gap(5, 30))
    assert np.allclose(read_windows(data, early)[0, :, 0], np.arange(30, 40), atol=1e-4)
    assert "26 rows missing between" in refusal(data, early, rolling=True)
    assert "1 row missing between" in refusal(data, write_file(tmp_path, lines_with_gap(30, 31))), (
        "one is in the history"
    )
    lines = hourly_lines(40)
    lines[38] = lines[38].rpartition(",")[0] + ","
    assert "row 38 (line 39), column 'b': missing value ('') at 2020-01-02 13:00" in refusal(
        data, write_file(tmp_path, lines)
    )


def test_stored_gaps_decide_unless_others_are_given(tmp_path: Path) -> None:
    path = write_lines(tmp_path, hourly_lines())
    gappy = write_file(tmp_path, lines_with_gap(35, 36))
    filled = make_data(path, time="when", gaps="interpolate")
    assert np.allclose(read_windows(filled, gappy)[0, :, 0], np.arange(30, 40), atol=1e-4), "the line between"
    assert "2 rows missing" in refusal(filled, gappy, gaps="error")
    strict = make_data(path, time="when")
    assert np.array_equal(read_windows(strict, gappy, gaps="interpolate"), read_windows(filled, gappy))
    dropping = make_data(path, time="when", gaps="drop")
    assert "2 rows missing" in refusal(dropping, gappy), "there is only one history"


def test_rolling_forecasts_skip_windows_with_gaps(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = make_data(write_lines(tmp_path, hourly_lines()), time="when", gaps="drop")
    gappy = write_file(tmp_path, lines_with_gap(15, 15))
    with caplog.at_level(logging.WARNING):
        windows = read_windows(data, gappy, rolling=True)
    starts = [start for start in range(31) if not start <= 14 < start + HISTORY]
    assert np.allclose(windows[:, 0, 0], starts, atol=1e-4)
    assert "10 windows of 31 skipped because of missing values" in caplog.text
    assert len(read_windows(data, gappy, with_targets=True)) == 26 - 15
    short = write_file(tmp_path, lines_with_gap(7, 7, count=12))
    assert "every window of 10 rows" in refusal(data, short, rolling=True)


def test_history_without_values_is_refused(tmp_path: Path) -> None:
    data = make_data(write_lines(tmp_path, hourly_lines()), time="when", gaps="interpolate")
    lines = hourly_lines(40)
    empty = [line if row < 31 else line.rpartition(",")[0] + "," for row, line in enumerate(lines)]
    assert "column 'b' has no value in the last 10 rows" in refusal(data, write_file(tmp_path, empty))
    future = [line if row < 39 else line.split(",")[0] + ",," for row, line in enumerate(lines)]
    assert "the last 2 rows have no values; remove such rows" in refusal(data, write_file(tmp_path, future))


# Refusals.


def test_files_that_cannot_be_read_are_refused(data: CSVSeries, tmp_path: Path) -> None:
    lines = hourly_lines(40)
    for count, options, message in (
        (9, {}, "has 9 rows; the history of this run is 10"),
        (14, {"with_targets": True}, "has 14 rows; history 10 and horizon 5 of this run need 15"),
    ):
        assert message in refusal(data, write_file(tmp_path, hourly_lines(count)), **options)
    cases = {
        "row 5 (line 6), column 'a': 'x' is not a finite number; 1 such cell": (
            "2020-01-01 04:00,4,",
            "2020-01-01 04:00,x,",
        ),
        "2020-01-01 04:00 is not later than 2020-01-01 04:00": ("2020-01-01 05:00", "2020-01-01 04:00"),
        "is 80 minutes after": ("2020-01-01 05:00", "2020-01-01 05:20"),
        "'1.1.2020' is neither a time such as 2016-07-31 12:00 nor a number": ("2020-01-01 05:00", "1.1.2020"),
    }
    for message, (old, new) in cases.items():
        found = refusal(data, write_file(tmp_path, [line.replace(old, new) for line in lines]))
        assert message in found
        assert "data." not in found, "the options of a trained run are fixed"
    assert "does not exist" in refusal(data, str(tmp_path / "nope.csv"))
    assert "is a folder" in refusal(data, str(tmp_path))
    assert "has a header but no rows" in refusal(data, write_file(tmp_path, lines[:1]))


def test_another_rhythm_is_reported(data: CSVSeries, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    daily = [line.replace(" 0", " ") for line in hourly_lines(700)]
    with caplog.at_level(logging.WARNING):
        split = data.read(write_file(tmp_path, [daily[0], *hourly_lines(700)[1::24]]))
    assert "rows are 1 day apart; this run was trained on rows 1 hour apart" in caplog.text
    assert read_names(split)[1][0][0] == "2020-01-31 00:00"


def test_timestamps_at_the_end_of_time_are_refused(tmp_path: Path) -> None:
    years = [f"{year}-12-31,{year % 7}" for year in range(9900, 10000)]
    data = make_data(write_lines(tmp_path, ["when,a", *years]), time="when")
    assert "the timestamps cannot be continued after 9999-12-31" in refusal(
        data, write_file(tmp_path, ["when,a", *years])
    )


def test_a_single_row_continues_by_the_stored_rhythm(tmp_path: Path) -> None:
    data = make_data(write_lines(tmp_path, hourly_lines()), time="when", history=1)
    path = write_file(tmp_path, [hourly_lines()[0], "2024-02-28 23:00,3,4"])
    assert read_names(data.read(path))[1][0][:2] == ["2024-02-29 00:00", "2024-02-29 01:00"]
    assert data.fitted is not None
    del data.fitted.values["rhythm"], data.fitted.values["schema"]  # as in a run of an earlier version
    assert "the timestamps cannot be continued after 2024-02-28 23:00: a single timestamp has no rhythm" in refusal(
        data, path
    )


def test_names_and_units_missing_in_old_checkpoints_come_from_the_preprocessing(
    data: CSVSeries, tmp_path: Path
) -> None:
    former = DatasetInfo(sizes=data.info.sizes, target=TargetInfo(scale=data.info.target.scale))
    assert data.complete_info(former).target == data.info.target
    one = make_data(write_lines(tmp_path, hourly_lines()), columns=["a"])
    former = DatasetInfo(sizes=one.info.sizes, target=TargetInfo(scale=one.info.target.scale))
    assert one.complete_info(former).target == one.info.target
    assert one.complete_info(one.info) is one.info


@pytest.mark.parametrize(("old", "new"), [("2020-01-01 00", "0020-01-01 00"), ("2020-01-02 15", "9020-01-02 15")])
def test_a_wrong_timestamp_is_refused_however_gaps_are_treated(
    data: CSVSeries, tmp_path: Path, old: str, new: str
) -> None:
    path = write_file(tmp_path, [line.replace(old, new) for line in hourly_lines(40)])
    for gaps in ("error", "interpolate", "drop"):
        assert "rows missing between" in (message := refusal(data, path, gaps=gaps))
        assert "and only 40 present" in message
