"""Series of the user's: what is read out of a file, and what is said of one that is no even series."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import configure, lab
from trainer.data.datasets.series.csv_series import CSVSeries
from trainer.data.splits.windows import WindowSplit
from trainer.utils.errors import DataError

START = datetime(2020, 1, 1)
HOUR = timedelta(hours=1)


def load(path: Path, **changes: Any) -> CSVSeries:
    """With ten steps to read and five to predict, and else as the YAML has it."""
    keys = configure("model=dlinear", "data=csv_series", f"data.path={path}")["data"]
    return CSVSeries(**{k: v for k, v in keys.items() if k != "_target_"} | {"history": 10, "horizon": 5} | changes)


def problem(path: Path, **changes: Any) -> str:
    with pytest.raises(DataError) as caught:
        load(path, **changes)
    return str(caught.value)


def hours(count: int = 100) -> list[str]:
    """A header and a row an hour: column ``a`` counts them and ``b`` swings with the day."""
    return [
        "when,a,b",
        *(f"{START + i * HOUR:%Y-%m-%d %H:%M},{i},{math.sin(i * math.pi / 12):.4f}" for i in range(count)),
    ]


def write(folder: Path, lines: Sequence[str]) -> Path:
    path = folder / "s.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def split(data: CSVSeries, which: str = "train") -> WindowSplit:
    found = getattr(data, which)
    assert isinstance(found, WindowSplit)
    return found


def targets(windows_of: WindowSplit) -> Tensor:
    found = windows_of.get_targets()
    assert found is not None
    return found


def sizes(data: CSVSeries) -> list[int]:
    return [len(split) for split in (data.train, data.val, data.test)]


def counted(data: CSVSeries, which: str) -> list[list[float]]:
    """Column ``a``, which counts the rows of ``hours``, in the windows of a split, in the file's own numbers."""
    first = split(data).series[:, 0].double()
    rows = first[~first.isnan()]
    part = split(data, which)
    batch = part.batch(torch.arange(len(part)), 0)
    assert batch.target is not None
    steps = torch.cat((batch.inputs["x"], batch.target), 1)[..., 0].double()
    return ((steps - rows[0]) / (rows[1] - rows[0])).round(decimals=2).tolist()


def test_the_past_is_read_and_the_future_predicted_in_the_order_of_the_file(tmp_path: Path) -> None:
    data = load(write(tmp_path, hours()), time="when")
    assert sizes(data) == [60 - 14, 20 - 4, 20 - 4]
    assert counted(data, "train")[0] == list(range(15))
    assert counted(data, "test")[-1] == list(range(85, 100))
    assert data.info.sizes == {"in_features": 2, "seq_len": 10, "horizon": 5, "flat_features": 20}
    series = split(data).series
    assert torch.allclose(series[:60].mean(0), torch.zeros(2), atol=1e-6)
    assert torch.allclose(series[:60].std(0, correction=0), torch.ones(2), atol=1e-6)


def test_a_single_column_is_scored_in_its_own_units_and_several_in_deviations(tmp_path: Path) -> None:
    path = write(tmp_path, hours())
    one = load(path, columns=["a"])
    assert one.info.baseline["mae"] == pytest.approx(3), "of 1 to 5 steps ahead, each one higher"
    both = load(path, time="when")
    assert both.info.target.scale == 1.0
    assert both.info.baseline["mae"] < 1


def test_scores_of_a_run_are_in_those_units_too(tmp_path: Path) -> None:
    path = write(tmp_path, hours())
    options = ("data.history=10", "data.horizon=5", "data.columns=[a]", "max_steps=1", "optimizer.lr=1e-9")
    made = lab("model=dlinear", "model.normalize=last", "data=csv_series", f"data.path={path}", *options)
    with torch.no_grad():  # a forecast of the last value: what the baseline says
        for parameter in made.task.parameters():
            parameter.zero_()
    assert made.test()["mae"] == pytest.approx(made.data.info.baseline["mae"], rel=1e-4) == pytest.approx(3)


def test_a_period_that_is_known_makes_the_baseline_harder(tmp_path: Path) -> None:
    path = write(tmp_path, hours(200))
    plain, daily = (load(path, columns=["b"], history=24, period=period) for period in (1, 24))
    assert plain.info.baseline["rmse"] > 0.3
    assert daily.info.baseline["rmse"] == pytest.approx(0, abs=1e-6)
    assert load(path, columns=["a"], history=24, period=24).info.baseline["mae"] == pytest.approx(3), "the better rule"
    assert (
        load(path, columns=["b"], history=12, period=24).info.baseline
        == load(path, columns=["b"], history=12).info.baseline
    )


def test_a_file_without_header_and_one_of_a_single_column(tmp_path: Path) -> None:
    path = write(tmp_path, hours()[1:])
    assert sizes(load(path, time=0)) == sizes(load(path, time=0, columns=[2])) == [46, 16, 16]
    assert "no header (first row: 2020-01-01 00:00, 0, 0.0000); give a number" in problem(path, time="when")
    assert sizes(load(write(tmp_path, [str(i % 7) for i in range(100)]))) == [46, 16, 16]


# Columns.


def test_columns_that_cannot_be_predicted_are_named_with_what_leaves_them_out(tmp_path: Path) -> None:
    rows = [line.rpartition(",")[0] for line in hours()[1:]]
    wind = write(tmp_path, ["when,a,wind", *(f"{row},{'NS'[i % 2]}W" for i, row in enumerate(rows))])
    said = problem(wind, time="when")
    assert "column 'wind' holds texts such as" in said
    assert "data.columns=[a] excludes it" in said
    assert sizes(load(wind, time="when", columns=["a"])) == [46, 16, 16]
    assert "column 'when' holds texts such as '2020-01-01 00:00'; is it data.time=when?" in problem(wind)
    counting = write(tmp_path, [",v", *(f"{i},{i % 5}" for i in range(100))])
    assert "is unnamed and holds row numbers" in (said := problem(counting))
    assert "data.columns=[v]" in said
    assert sizes(load(counting, time=0)) == [46, 16, 16]
    empty = write(tmp_path, ["a,b", *(f"{i},?" for i in range(100))])
    assert "column 'b' is empty" in problem(empty)
    commas = write(tmp_path, ["a;b", *(f"{i};{i},5" for i in range(100))])
    assert "column 'b' holds numbers such as '0,5': data.decimal=comma reads it as 0.5" in problem(commas)
    assert sizes(load(commas, decimal="comma")) == [46, 16, 16]


def test_a_text_among_numbers_is_never_filled(tmp_path: Path) -> None:
    lines = hours()
    lines[8] = lines[8].replace(",7,", ",broken,")
    path = write(tmp_path, lines)
    for gaps in ("error", "interpolate", "drop"):
        assert "row 8 (line 9), column 'a': 'broken' is not a finite number" in problem(path, time="when", gaps=gaps)
    assert sizes(load(path, time="when", gaps="interpolate", missing=["broken"])) == [46, 16, 16]


def test_columns_asked_for_wrongly(tmp_path: Path) -> None:
    path = write(tmp_path, ["when,level", *(",".join(line.split(",")[:2]) for line in hours()[1:])])
    assert "no column 'levle'" in (said := problem(path, columns=["levle"]))
    assert "did you mean level?" in said
    assert "time: no column 'wen'" in problem(path, time="wen")
    for changes in ({"time": "when", "columns": ["when", "level"]}, {"columns": ["level", 1]}):
        assert "the same column is given twice" in problem(path, **changes)
    assert "no columns left" in problem(write(tmp_path, [line.split(",")[0] for line in hours()]), time="when")


# Length.


def test_too_few_rows_are_told_with_how_many_are_needed(tmp_path: Path) -> None:
    said = problem(write(tmp_path, hours(3)), time="when")
    assert "history 10 and horizon 5" in said
    assert "need 25 rows; there are 3" in said
    with pytest.raises(DataError, match="need 25 rows; there are 24"):
        load(write(tmp_path, hours(24)), time="when")
    assert sizes(load(write(tmp_path, hours(25)), time="when")) == [1, 1, 1]


def test_a_file_that_is_not_there_or_does_not_hold_together(tmp_path: Path) -> None:
    path = write(tmp_path, hours())
    assert "did you mean s.csv?" in problem(tmp_path / "s.cvs")
    twice = write(tmp_path, ["b,b", "1,2", "3,4"])
    assert "row 1 (line 1), column 'column 0': 'b' is not a finite number" in (said := problem(twice))
    assert "if this row is a header, set data.header=true" in said
    assert "2 columns are named 'b' (columns 0 and 1, counted from 0)" in problem(twice, header=True)
    assert "delimiter ';'" in problem(write(tmp_path, ["a;b", "1", "2"]), delimiter="semicolon")
    path.write_text("")
    assert "is empty" in problem(path)
