"""Continuation of timestamps, compared with the date ranges of pandas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
import pytest

from trainer.data.encoding import timestamps
from trainer.data.encoding.time_grid import Rhythm, TimeGrid
from trainer.data.readers import delimited

COUNT, AHEAD = 30, 25
FREQUENCIES = (
    *("250us", "10ms", "s", "7s", "min", "15min", "h", "6h", "D", "2D", "B", "W", "W-WED", "2W"),
    *("MS", "ME", "2MS", "QS", "QE", "QE-JAN", "YS", "YE", "YE-FEB"),
)
DOTTED = "%d.%m.%Y %H:%M:%S.%f"
FORMATS: dict[str, tuple[str | None, Callable[[datetime], str]]] = {
    "iso": (None, lambda time: time.isoformat(" ", "microseconds")),
    "T and Z": (None, lambda time: f"{time.isoformat('T', 'milliseconds')}Z"),
    "basic iso": (None, lambda time: time.strftime("%Y%m%dT%H%M%S")),
    "isoformat": (None, lambda time: time.isoformat()),
    "dots": (DOTTED, lambda time: time.strftime(DOTTED)),
    "no leading zeros": (DOTTED, lambda time: f"{time.day}.{time.month}.{time.year} {time.hour}:{time:%M:%S.%f}"),
    "twelve hours": ("%m/%d/%Y %I:%M:%S.%f %p", lambda time: time.strftime("%m/%d/%Y %I:%M:%S.%f %p")),
    "month names": ("%d %b %Y, %H:%M:%S.%f", lambda time: time.strftime("%d %b %Y, %H:%M:%S.%f")),
    "numeric offset": ("%Y-%m-%d %H:%M:%S.%f%z", lambda time: time.strftime("%Y-%m-%d %H:%M:%S.%f+0530")),
}


def read_grid(folder: Path, cells: Sequence[str], pattern: str | None = None, rhythm: Rhythm | None = None) -> TimeGrid:
    path = folder / "s.csv"
    path.write_text("\n".join(["t|v", *(f"{cell}|{i % 9}" for i, cell in enumerate(cells))]), encoding="utf-8")
    table = delimited.read(str(path), "path", "bar", True, "utf-8")
    return timestamps.read_time_grid(table, 0, pattern, rhythm=rhythm, finds_business_days=rhythm is None)


def continue_cells(folder: Path, cells: Sequence[str], pattern: str | None = None, count: int = 3) -> list[str]:
    """Return the timestamps after the last one."""
    grid = read_grid(folder, cells, pattern)
    last = int(grid.steps[-1])
    return grid.name_steps(last + 1, last + 1 + count)


@pytest.mark.parametrize("name", FORMATS)
def test_timestamps_continue_like_those_of_pandas(tmp_path: Path, name: str) -> None:
    pattern, write = FORMATS[name]
    for frequency in FREQUENCIES:
        for start in ("2019-11-28 00:00", "2023-12-31 07:30"):
            times = pd.date_range(start, periods=COUNT + AHEAD, freq=frequency)
            cells = [write(time.to_pydatetime()) for time in times]
            if len(set(cells)) < len(cells) or (name == "T and Z" and frequency == "250us"):
                continue  # the format cannot distinguish them
            grid = read_grid(tmp_path, cells[:COUNT], pattern)
            assert grid.steps.tolist() == list(range(COUNT)), (frequency, start)
            assert grid.name_steps(0, COUNT + AHEAD) == cells, (frequency, start)


def test_gaps_are_named_by_the_same_rhythm(tmp_path: Path) -> None:
    for frequency in ("h", "B", "ME"):
        cells = [str(time) for time in pd.date_range("2020-01-06", periods=60, freq=frequency)]
        grid = read_grid(tmp_path, [*cells[:20], *cells[23:50]])
        assert grid.name_steps(18, 60) == cells[18:]


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([str(i) for i in range(7, 12)], ["12", "13", "14"]),
        ([str(1900 + 5 * i) for i in range(9)], ["1945", "1950", "1955"]),
        ([f"{i:03d}" for i in range(96, 99)], ["099", "100", "101"]),
        ([f"{i}.0" for i in range(5)], ["5.0", "6.0", "7.0"]),
        ([f"{i / 10:.1f}" for i in range(8)], ["0.8", "0.9", "1.0"]),
        ([f"{i / 2:g}" for i in range(6)], ["3", "3.5", "4"]),
        ([f"{-i / 4:.2f}" for i in range(9, 0, -1)], ["0.00", "0.25", "0.50"]),
        ([f"{i / 3:.2f}" for i in range(1, 31)], ["10.33", "10.67", "11.00"]),
        ([str(1_600_000_000 + 900 * i) for i in range(9)], ["1600008100", "1600009000", "1600009900"]),
        ([f"{i}e3" for i in range(1, 5)], ["5000", "6000", "7000"]),
    ],
)
def test_numbers_count_on_as_they_are_written(tmp_path: Path, cells: list[str], expected: list[str]) -> None:
    assert continue_cells(tmp_path, cells) == expected


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["2016-07", "2016-08", "2016-09"], ["2016-10", "2016-11", "2016-12"]),
        (["2015-W52", "2015-W53", "2016-W01"], ["2016-W02", "2016-W03", "2016-W04"]),
        (["2016-01-01T00", "2016-01-01T06"], ["2016-01-01T12", "2016-01-01T18", "2016-01-02T00"]),
        (["12:30", "13:00", "13:30"], None),
        (
            [f"2020-01-01T00:00:{i / 128:06.3f}" for i in range(128)],
            [f"2020-01-01T00:00:0{1 + i / 128:.3f}" for i in range(3)],
        ),
        # Hourly readings some seconds late: the mean distance, to the last written digit.
        (
            ["2020-01-01 00:00:00", "2020-01-01 01:00:05", "2020-01-01 02:00:00", "2020-01-01 03:00:03"],
            ["2020-01-01 04:00:04", "2020-01-01 05:00:05", "2020-01-01 06:00:06"],
        ),
    ],
    ids=["months", "weeks", "hours alone", "times of day", "rounded", "jitter"],
)
def test_other_iso_timestamps(tmp_path: Path, cells: list[str], expected: list[str] | None) -> None:
    if expected is None:
        with pytest.raises(ValueError, match=r"most rows are|is neither a time"):
            continue_cells(tmp_path, cells)
    else:
        assert continue_cells(tmp_path, cells) == expected


def test_local_days_continue_across_clock_changes_with_the_last_offset(tmp_path: Path) -> None:
    for frequency, zone in (("D", "Europe/Berlin"), ("W", "America/New_York"), ("MS", "Europe/Berlin")):
        times = pd.date_range("2020-01-01", periods=70, freq=frequency, tz=zone)
        cells = [time.isoformat() for time in times]
        offset = cells[59][-6:]
        assert continue_cells(tmp_path, cells[:60]) == [cell[:-6] + offset for cell in cells[60:63]]
    hours = [time.isoformat() for time in pd.date_range("2020-03-28 20:00", periods=14, freq="h", tz="Europe/Berlin")]
    assert {hour[-6:] for hour in hours[:10]} == {"+01:00", "+02:00"}
    assert continue_cells(tmp_path, hours[:10]) == hours[10:13]


def test_business_days_need_two_weekends_or_the_stored_rhythm(tmp_path: Path) -> None:
    days = [str(time.date()) for time in pd.date_range("2024-01-04", periods=20, freq="B")]
    assert continue_cells(tmp_path, days[:12]) == days[12:15]
    assert read_grid(tmp_path, days[:4]).rhythm == Rhythm("second", 86400.0), "one weekend may be a gap"
    stored = read_grid(tmp_path, days[:2], rhythm=Rhythm("business day", 1))
    assert stored.name_steps(0, 6) == days[:6]
    holiday = read_grid(tmp_path, [*days[:7], *days[8:]])
    assert holiday.steps.tolist() == [step for step in range(20) if step != 7]
    daily = [str(time.date()) for time in pd.date_range("2024-01-04", periods=20)]
    assert read_grid(tmp_path, daily, rhythm=Rhythm("business day", 1)).rhythm == Rhythm("second", 86400.0)


def test_a_single_row_has_the_stored_rhythm(tmp_path: Path) -> None:
    grid = read_grid(tmp_path, ["2020-02-29"], rhythm=Rhythm("month", 3, at_month_end=True))
    assert grid.name_steps(0, 3) == ["2020-02-29", "2020-05-31", "2020-08-31"]
    assert read_grid(tmp_path, ["0.5"], rhythm=Rhythm("", 0.25)).name_steps(1, 3) == ["0.75", "1"]
    with pytest.raises(ValueError, match="single timestamp"):
        read_grid(tmp_path, ["2020-02-29"], rhythm=Rhythm("", 1)).name_steps(0, 2)


def test_rhythms_are_described_in_their_largest_unit() -> None:
    assert [str(rhythm) for rhythm in (Rhythm("second", 5400), Rhythm("second", 604800), Rhythm("month", 24))] == [
        "90 minutes",
        "1 week",
        "2 years",
    ]
    assert str(Rhythm("business day", 1)) == "1 business day"
    assert str(Rhythm("", 0.5)) == "0.5"
