from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from trainer.data.parts import series, stamps, tables
from trainer.errors import ConfigError

START = datetime(2020, 1, 1)
HOUR = timedelta(hours=1)


def read(folder: Path, times: Sequence[str], pattern: str | None = None) -> tuple[list[int], list[str]]:
    """Where rows of these times stand, and what is said of those that are missing."""
    path = folder / "s.csv"
    path.write_text("\n".join(["t;v", *(f"{time};{i % 9}" for i, time in enumerate(times))]), encoding="utf-8")
    table = tables.read(str(path), "data.path", "semicolon", True, "utf-8")
    places = stamps.places(table, 0, pattern)
    assert places.dtype == np.int64
    return places.tolist(), series.absences(table, 0, places)


def problem(folder: Path, times: Sequence[str], pattern: str | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, times, pattern)
    return str(caught.value)


def hours(form: str = "%Y-%m-%d %H:%M", step: timedelta = HOUR) -> list[str]:
    return [(START + i * step).strftime(form) for i in range(100)]


WAYS = {
    "days": (hours("%Y-%m-%d", timedelta(days=1)), None),
    "quarters of an hour": (hours("%Y-%m-%dT%H:%M:%S", timedelta(minutes=15)), None),
    "a zone": (hours("%Y-%m-%dT%H:%M:%SZ"), None),
    "the German way": (hours("%d.%m.%Y %H:%M"), "%d.%m.%Y %H:%M"),
    "weeks, the American way": (hours("%m/%d/%y", timedelta(days=7)), "%m/%d/%y"),
    "months": ([f"{1990 + i // 12}-{i % 12 + 1:02d}" for i in range(100)], None),
    "quarters": ([f"{1990 + i // 4}-{i % 4 * 3 + 1:02d}-15" for i in range(100)], None),
    "ends of months": (
        [f"{datetime(1990 + (i + 1) // 12, (i + 1) % 12 + 1, 1) - timedelta(days=1):%Y-%m-%d}" for i in range(100)],
        None,
    ),
    "years": ([str(1900 + i) for i in range(100)], None),
    "numbers": ([f"{0.1 * i:.1f}" for i in range(100)], None),
}


@pytest.mark.parametrize("way", WAYS)
def test_ways_to_write_the_time(tmp_path: Path, way: str) -> None:
    times, pattern = WAYS[way]
    assert read(tmp_path, times, pattern) == (list(range(100)), [])
    places, (told,) = read(tmp_path, [*times[:30], *times[32:]], pattern)
    assert places == [*range(30), *range(32, 100)]
    assert f"row 31 (line 32), column 't': 2 rows missing between {times[29]} and {times[32]}" in told


def test_hours_of_the_last_day_of_a_month_are_no_months(tmp_path: Path) -> None:
    times = [f"2020-01-31 {hour:02d}:00" for hour in range(24)]
    assert read(tmp_path, times)[0] == list(range(24))


def test_a_zone_that_changes_over_is_no_gap(tmp_path: Path) -> None:
    times = ["2020-03-29T00:00+01:00", "2020-03-29T01:00+01:00", "2020-03-29T03:00+02:00", "2020-03-29T04:00+02:00"]
    assert read(tmp_path, times) == ([0, 1, 2, 3], [])
    without = [time[:16] for time in times]
    assert "1 row missing between 2020-03-29T01:00 and 2020-03-29T03:00" in read(tmp_path, without)[1][0]


def test_a_single_row_stands_at_the_start(tmp_path: Path) -> None:
    assert read(tmp_path, ["2020-01-01"]) == ([0], [])


def test_times_out_of_order_or_twice_are_named(tmp_path: Path) -> None:
    times = hours()
    said = problem(tmp_path, [*times[:49], times[50], times[49], *times[51:]])
    assert "row 51 (line 52), column 't': 2020-01-03 01:00 is not later than 2020-01-03 02:00" in said
    assert "row 50 (line 51)" in (said := problem(tmp_path, [*times[:49], *times[48:]]))
    assert "2020-01-03 00:00 is not later than 2020-01-03 00:00" in said
    assert "newest row comes first" not in said
    assert "newest row comes first" in problem(tmp_path, times[::-1])


def test_uneven_times_are_named(tmp_path: Path) -> None:
    times = hours()
    times[19] = times[19].replace("19:00", "19:20")
    said = problem(tmp_path, times)
    assert "2020-01-01 19:20 comes 80 minutes after 2020-01-01 18:00, but most rows are 1 hour apart" in said
    assert "data.time=null" in said


def test_times_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    german = hours("%d.%m.%Y")
    assert "row 1 (line 2), column 't': '01.01.2020' is no time such as" in problem(tmp_path, german)
    assert "'01.01.2020' is not written as data.time_format=%Y" in problem(tmp_path, german, "%Y")
    for wrong in ("2O20-01-01 08:00", "", "nan"):
        times = hours()
        times[8] = wrong
        assert f"row 9 (line 10), column 't': {wrong!r} is no time" in problem(tmp_path, times)


def test_a_stamp_of_another_age_is_no_gap_to_fill(tmp_path: Path) -> None:
    said = problem(tmp_path, ["1970-01-01 00:00", *hours()[1:]])
    assert "missing between 1970-01-01 00:00 and 2020-01-01 01:00" in said
    assert "only 100 there" in said
