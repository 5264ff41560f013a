"""CSV series: columns, splits, units, baselines and errors."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.lab import lab
from tests.helpers.series_files import (
    get_split,
    hourly_lines,
    load_error,
    load_series,
    read_counts,
    split_sizes,
    write_lines,
)
from trainer.utils.errors import DataError


def test_windows_follow_file_order_and_are_standardized(tmp_path: Path) -> None:
    data = load_series(write_lines(tmp_path, hourly_lines()), time="when")
    assert split_sizes(data) == [60 - 14, 20 - 4, 20 - 4]
    assert read_counts(data, "train")[0] == list(range(15))
    assert read_counts(data, "test")[-1] == list(range(85, 100))
    assert data.info.sizes == {"in_features": 2, "seq_len": 10, "horizon": 5, "flat_features": 20}
    series = get_split(data).series
    assert torch.allclose(series[:60].mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(series[:60].std(0, correction=0), torch.ones(2), atol=1e-6)


def test_baseline_of_single_column_is_in_original_units(tmp_path: Path) -> None:
    path = write_lines(tmp_path, hourly_lines())
    one = load_series(path, columns=["a"])
    assert one.info.baseline["mae"] == pytest.approx(3), "of 1 to 5 steps ahead, each one higher"
    both = load_series(path, time="when")
    assert both.info.target.scale == 1.0
    assert both.info.baseline["mae"] < 1


def test_run_scores_of_single_column_are_in_original_units(tmp_path: Path) -> None:
    path = write_lines(tmp_path, hourly_lines())
    options = ("data.history=10", "data.horizon=5", "data.columns=[a]", "max_steps=1", "optimizer.lr=1e-9")
    run = lab("model=dlinear", "model.normalize=last", "data=csv_series", f"data.path={path}", *options)
    with torch.no_grad():  # the forecast is the last value, as in the baseline
        for parameter in run.task.parameters():
            parameter.zero_()
    assert run.test()["mae"] == pytest.approx(run.data.info.baseline["mae"], rel=1e-4) == pytest.approx(3)


def test_known_period_improves_baseline(tmp_path: Path) -> None:
    path = write_lines(tmp_path, hourly_lines(200))
    plain, daily = (load_series(path, columns=["b"], history=24, period=period) for period in (1, 24))
    assert plain.info.baseline["rmse"] > 0.3
    assert daily.info.baseline["rmse"] == pytest.approx(0, abs=1e-6)
    assert load_series(path, columns=["a"], history=24, period=24).info.baseline["mae"] == pytest.approx(3), (
        "the better rule"
    )
    assert (
        load_series(path, columns=["b"], history=12, period=24).info.baseline
        == load_series(path, columns=["b"], history=12).info.baseline
    )


def test_file_without_header_and_single_column_file(tmp_path: Path) -> None:
    path = write_lines(tmp_path, hourly_lines()[1:])
    assert split_sizes(load_series(path, time=0)) == split_sizes(load_series(path, time=0, columns=[2])) == [46, 16, 16]
    assert "no header (first row: 2020-01-01 00:00, 0, 0.0000); give a number" in load_error(path, time="when")
    assert split_sizes(load_series(write_lines(tmp_path, [str(i % 7) for i in range(100)]))) == [46, 16, 16]


# Columns.


def test_unusable_columns_are_reported_with_remedy(tmp_path: Path) -> None:
    rows = [line.rpartition(",")[0] for line in hourly_lines()[1:]]
    wind = write_lines(tmp_path, ["when,a,wind", *(f"{row},{'NS'[i % 2]}W" for i, row in enumerate(rows))])
    message = load_error(wind, time="when")
    assert "column 'wind' holds texts such as" in message
    assert "data.columns=[a] excludes it" in message
    assert split_sizes(load_series(wind, time="when", columns=["a"])) == [46, 16, 16]
    assert "column 'when' holds texts such as '2020-01-01 00:00'; is it data.time=when?" in load_error(wind)
    counting = write_lines(tmp_path, [",v", *(f"{i},{i % 5}" for i in range(100))])
    assert "is unnamed and holds row numbers" in (message := load_error(counting))
    assert "data.columns=[v]" in message
    assert split_sizes(load_series(counting, time=0)) == [46, 16, 16]
    empty = write_lines(tmp_path, ["a,b", *(f"{i},?" for i in range(100))])
    assert "column 'b' is empty" in load_error(empty)
    commas = write_lines(tmp_path, ["a;b", *(f"{i};{i},5" for i in range(100))])
    assert "column 'b' holds numbers such as '0,5': data.decimal=comma reads it as 0.5" in load_error(commas)
    assert split_sizes(load_series(commas, decimal="comma")) == [46, 16, 16]


def test_a_string_among_numbers_is_never_imputed(tmp_path: Path) -> None:
    lines = hourly_lines()
    lines[8] = lines[8].replace(",7,", ",broken,")
    path = write_lines(tmp_path, lines)
    for gaps in ("error", "interpolate", "drop"):
        assert "row 8 (line 9), column 'a': 'broken' is not a finite number" in load_error(path, time="when", gaps=gaps)
    assert split_sizes(load_series(path, time="when", gaps="interpolate", missing=["broken"])) == [46, 16, 16]


def test_invalid_column_selection_raises(tmp_path: Path) -> None:
    path = write_lines(tmp_path, ["when,level", *(",".join(line.split(",")[:2]) for line in hourly_lines()[1:])])
    assert "no column 'levle'" in (message := load_error(path, columns=["levle"]))
    assert "did you mean level?" in message
    assert "time: no column 'wen'" in load_error(path, time="wen")
    for changes in ({"time": "when", "columns": ["when", "level"]}, {"columns": ["level", 1]}):
        assert "the same column is given twice" in load_error(path, **changes)
    assert "no columns left" in load_error(
        write_lines(tmp_path, [line.split(",")[0] for line in hourly_lines()]), time="when"
    )


# Length.


def test_too_few_rows_are_reported_with_the_required_number(tmp_path: Path) -> None:
    message = load_error(write_lines(tmp_path, hourly_lines(3)), time="when")
    assert "history 10 and horizon 5" in message
    assert "need 25 rows; there are 3" in message
    with pytest.raises(DataError, match="need 25 rows; there are 24"):
        load_series(write_lines(tmp_path, hourly_lines(24)), time="when")
    assert split_sizes(load_series(write_lines(tmp_path, hourly_lines(25)), time="when")) == [1, 1, 1]


def test_missing_or_inconsistent_files_are_reported(tmp_path: Path) -> None:
    path = write_lines(tmp_path, hourly_lines())
    assert "did you mean s.csv?" in load_error(tmp_path / "s.cvs")
    twice = write_lines(tmp_path, ["b,b", "1,2", "3,4"])
    assert "row 1 (line 1), column 'column 0': 'b' is not a finite number" in (message := load_error(twice))
    assert "if this row is a header, set data.header=true" in message
    assert "2 columns are named 'b' (columns 0 and 1, counted from 0)" in load_error(twice, header=True)
    assert "delimiter ';'" in load_error(write_lines(tmp_path, ["a;b", "1", "2"]), delimiter="semicolon")
    path.write_text("")
    assert "is empty" in load_error(path)
