"""Timestamps: formats, gaps, uneven steps, rounding, time zones and errors."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from trainer.data.encoding import series_gaps, timestamps
from trainer.data.readers import delimited
from trainer.utils.errors import DataError

START = datetime(2020, 1, 1)
HOUR = timedelta(hours=1)


def read(folder: Path, times: Sequence[str], pattern: str | None = None) -> tuple[list[int], list[str]]:
    """Return the grid steps of the rows and the descriptions of missing rows."""
    path = folder / "s.csv"
    path.write_text("\n".join(["t;v", *(f"{time};{i % 9}" for i, time in enumerate(times))]), encoding="utf-8")
    table = delimited.read(str(path), "data.path", "semicolon", True, "utf-8")
    steps = timestamps.read_time_grid(table, 0, pattern).steps
    assert steps.dtype == np.int64
    return steps.tolist(), series_gaps.describe_missing_rows(table, 0, steps)


def problem(folder: Path, times: Sequence[str], pattern: str | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, times, pattern)
    return str(caught.value)


def format_times(form: str = "%Y-%m-%d %H:%M", step: timedelta = HOUR) -> list[str]:
    return [(START + i * step).strftime(form) for i in range(100)]


FORMATS = {
    "days": (format_times("%Y-%m-%d", timedelta(days=1)), None),
    "quarters of an hour": (format_times("%Y-%m-%dT%H:%M:%S", timedelta(minutes=15)), None),
    "time zone": (format_times("%Y-%m-%dT%H:%M:%SZ"), None),
    "German format": (format_times("%d.%m.%Y %H:%M"), "%d.%m.%Y %H:%M"),
    "weeks, American format": (format_times("%m/%d/%y", timedelta(days=7)), "%m/%d/%y"),
    "months": ([f"{1990 + i // 12}-{i % 12 + 1:02d}" for i in range(100)], None),
    "quarters": ([f"{1990 + i // 4}-{i % 4 * 3 + 1:02d}-15" for i in range(100)], None),
    "ends of months": (
        [f"{datetime(1990 + (i + 1) // 12, (i + 1) % 12 + 1, 1) - timedelta(days=1):%Y-%m-%d}" for i in range(100)],
        None,
    ),
    "years": ([str(1900 + i) for i in range(100)], None),
    "numbers": ([f"{0.1 * i:.1f}" for i in range(100)], None),
}


@pytest.mark.parametrize("name", FORMATS)
def test_timestamp_formats_are_parsed_and_gaps_described(tmp_path: Path, name: str) -> None:
    times, pattern = FORMATS[name]
    assert read(tmp_path, times, pattern) == (list(range(100)), [])
    steps, (message,) = read(tmp_path, [*times[:30], *times[32:]], pattern)
    assert steps == [*range(30), *range(32, 100)]
    assert f"row 31 (line 32), column 't': 2 rows missing between {times[29]} and {times[32]}" in message


def test_hours_of_last_day_of_month_are_hourly(tmp_path: Path) -> None:
    times = [f"2020-01-31 {hour:02d}:00" for hour in range(24)]
    assert read(tmp_path, times)[0] == list(range(24))


def test_change_of_utc_offset_is_not_a_gap(tmp_path: Path) -> None:
    times = ["2020-03-29T00:00+01:00", "2020-03-29T01:00+01:00", "2020-03-29T03:00+02:00", "2020-03-29T04:00+02:00"]
    assert read(tmp_path, times) == ([0, 1, 2, 3], [])
    local_times = [time[:16] for time in times]
    assert "1 row missing between 2020-03-29T01:00 and 2020-03-29T03:00" in read(tmp_path, local_times)[1][0]


def test_single_row_has_step_0(tmp_path: Path) -> None:
    assert read(tmp_path, ["2020-01-01"]) == ([0], [])


def test_unordered_or_repeated_timestamps_are_reported(tmp_path: Path) -> None:
    times = format_times()
    message = problem(tmp_path, [*times[:49], times[50], times[49], *times[51:]])
    assert "row 51 (line 52), column 't': 2020-01-03 01:00 is not later than 2020-01-03 02:00" in message
    assert "row 50 (line 51)" in (message := problem(tmp_path, [*times[:49], *times[48:]]))
    assert "2020-01-03 00:00 is not later than 2020-01-03 00:00" in message
    assert "rows are in reverse order" not in message
    assert "rows are in reverse order" in problem(tmp_path, times[::-1])


def test_uneven_timestamps_are_reported(tmp_path: Path) -> None:
    times = format_times()
    times[19] = times[19].replace("19:00", "19:20")
    message = problem(tmp_path, times)
    assert "2020-01-01 19:20 is 80 minutes after 2020-01-01 18:00, but most rows are 1 hour apart" in message
    assert "data.time=null" in message


def test_unreadable_timestamps_are_reported(tmp_path: Path) -> None:
    german = format_times("%d.%m.%Y")
    assert "row 1 (line 2), column 't': '01.01.2020' is neither a time such as" in problem(tmp_path, german)
    assert "'01.01.2020' does not match data.time_format=%Y" in problem(tmp_path, german, "%Y")
    for wrong in ("2O20-01-01 08:00", "", "nan"):
        times = format_times()
        times[8] = wrong
        assert f"row 9 (line 10), column 't': {wrong!r} is neither a time" in problem(tmp_path, times)


def test_timestamp_far_from_others_raises(tmp_path: Path) -> None:
    message = problem(tmp_path, ["1970-01-01 00:00", *format_times()[1:]])
    assert "missing between 1970-01-01 00:00 and 2020-01-01 01:00" in message
    assert "only 100 present" in message


@pytest.mark.parametrize(
    "times",
    [
        [f"{i / 44100:.6f}" for i in range(200)],
        [f"{i / 44100:.6g}" for i in range(200)],
        [f"{i / 3:.2f}" for i in range(100)],
        [f"{i / 44100:.6f}" for i in range(200) if not 50 < i < 60],
        [f"2020-01-01T00:00:{i / 128:06.3f}" for i in range(200)],
        [f"2020-01-01T00:00:{i / 3:02.0f}" for i in range(1, 99, 6)],
    ],
    ids=["fixed decimals", "significant digits", "thirds", "with rows missing", "128 Hz in milliseconds", "seconds"],
)
def test_rounded_sample_times_are_even(tmp_path: Path, times: list[str]) -> None:
    steps = read(tmp_path, times)[0]
    expected = [*range(51), *range(60, 200)] if len(times) == 191 else list(range(len(times)))
    assert steps == expected


def test_deviation_above_rounding_raises(tmp_path: Path) -> None:
    times = [f"{i / 100:.4f}" for i in range(100)]
    times[40] = "0.4020"
    assert "0.4020 is 0.012 after 0.3900, but most rows are 0.01 apart" in problem(tmp_path, times)


@pytest.mark.parametrize("days", [1, 7])
def test_daily_times_across_daylight_saving_are_daily(tmp_path: Path, days: int) -> None:
    dates = [datetime(2020, 1, 1) + timedelta(days=days * i) for i in range(120 // days)]
    zones = ["+02:00" if datetime(2020, 3, 29) <= date < datetime(2020, 10, 25) else "+01:00" for date in dates]
    local = [f"{date:%Y-%m-%d}T00:00:00{zone}" for date, zone in zip(dates, zones, strict=True)]
    assert read(tmp_path, local) == (list(range(len(dates))), [])
    utc = [f"{datetime.fromisoformat(time).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" for time in local]
    assert read(tmp_path, utc) == (list(range(len(dates))), [])
    if days == 1:
        steps, (message,) = read(tmp_path, [*utc[:95], *utc[97:]])
        assert steps == [*range(95), *range(97, 120)]
        assert "2 rows missing" in message
        shifted = [*utc[:50], utc[50].replace("23:00", "21:00"), *utc[51:]]
        assert "most rows are 1 day apart" in problem(tmp_path, shifted)


def test_monthly_times_across_daylight_saving_are_monthly(tmp_path: Path) -> None:
    times = [f"2020-{month:02d}-01T00:00:00{'+02:00' if 4 <= month <= 10 else '+01:00'}" for month in range(1, 13)]
    assert read(tmp_path, times) == (list(range(12)), [])


def test_several_series_in_one_file_are_reported(tmp_path: Path) -> None:
    days = [f"2020-01-{day:02d}" for day in range(1, 31)]
    for rows in (
        [(shop, day) for shop in ("north", "south") for day in days],
        [(shop, day) for day in days for shop in ("north", "south")],
    ):
        path = tmp_path / "long.csv"
        path.write_text("\n".join(["shop;t;v", *(f"{shop};{day};{i % 7}" for i, (shop, day) in enumerate(rows))]))
        table = delimited.read(str(path), "data.path", None, "auto", "utf-8")
        with pytest.raises(DataError) as caught:
            timestamps.read_time_grid(table, 1, None)
        assert "is not later than" in str(caught.value)
        assert "column 'shop' identifies several series (north, south)" in str(caught.value)


def test_a_suitable_format_is_suggested(tmp_path: Path) -> None:
    message = problem(tmp_path, format_times("%d.%m.%Y %H:%M"))
    assert 'it looks like data.time_format="%d.%m.%Y %H:%M"' in message
    assert "is neither a time" in problem(tmp_path, [f"1_{i}" for i in range(10)]), "it is not a number either"
