"""Gaps in CSV series: reported, interpolated in inputs or dropped, and never targets."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.series_files import (
    get_split,
    get_targets,
    hourly_lines,
    load_error,
    load_series,
    read_counts,
    split_sizes,
    write_lines,
)
from trainer.data.splits import windows


def lines_with_gaps() -> list[str]:
    """Return hourly lines without rows 21 to 23 and 41; ``b`` lacks rows 6 and 7."""
    lines = hourly_lines()
    lines[6], lines[7] = (",".join([*lines[row].split(",")[:2], "NA"]) for row in (6, 7))
    return [line for row, line in enumerate(lines) if row not in (21, 22, 23, 41)]


def test_missing_rows_and_cells_are_reported_with_their_times(tmp_path: Path) -> None:
    path = write_lines(tmp_path, lines_with_gaps())
    message = load_error(path, time="when")
    assert (
        f"{path}: row 21 (line 22), column 'when': 3 rows missing between 2020-01-01 19:00 and 2020-01-01 23:00;"
        " 4 missing in all, at 2 places" in message
    )
    cell = (
        "row 6 (line 7), column 'b': missing value ('NA') at 2020-01-01 05:00 to 2020-01-01 06:00;"
        " 2 such cells in the column"
    )
    assert cell in message
    assert "data.gaps=interpolate" in message
    assert "data.gaps=drop" in message
    assert "missing value ('NA'); 2 such cells" in load_error(path, columns=["b"]), "without a time column"
    assert split_sizes(load_series(path, time="when", columns=["a"], gaps="drop")) == [14, 16, 16]


def test_interpolation_fills_inputs_and_excludes_missing_targets(tmp_path: Path) -> None:
    data = load_series(write_lines(tmp_path, lines_with_gaps()), time="when", columns=["a"], gaps="interpolate")
    missing = {20, 21, 22, 40}
    starts = [start for start in range(46) if not missing & set(range(start + 10, start + 15))]
    counts_by_start = dict(zip(starts, read_counts(data, "train"), strict=True))
    for start, counts in counts_by_start.items():
        expected = [float(step) for step in range(start, start + 15)]
        if not missing & {start, start + 9}:
            assert counts == expected, "known on both sides of the gap"
    assert counts_by_start[20][:4] == [23, 23, 23, 23], "before the first known input, its value"
    assert counts_by_start[13][:10] == [13, 14, 15, 16, 17, 18, 19, 19, 19, 19], "after the last known input, its value"
    assert split_sizes(data) == [len(starts), 16, 16]


def test_interpolated_inputs_do_not_leak_targets(tmp_path: Path) -> None:
    """Compare inputs with targets on white noise: interpolation toward a target would correlate with it."""
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    known = torch.rand(4000, generator=torch.Generator().manual_seed(1)) < 0.7
    cells = [f"{value:.6f}" if is_known else "" for value, is_known in zip(noise.tolist(), known.tolist(), strict=True)]
    path = write_lines(tmp_path, ["i,v", *(f"{i},{cell}" for i, cell in enumerate(cells))])
    data = load_series(path, columns=["v"], horizon=1, gaps="interpolate")
    truth = torch.from_numpy(np.array([float(cell or "nan") for cell in cells]))
    standardized = (truth - truth[:2400].nanmean()) / np.nanstd(truth[:2400].numpy())
    for split, (begin, end) in ((data.train, (0, 2400)), (data.val, (2390, 3200)), (data.test, (3190, 4000))):
        batch = split.batch(torch.arange(len(split)), 0)
        assert batch.target is not None
        last_value, next_value = batch.inputs["x"][:, -1, 0], batch.target[:, 0, 0]
        assert abs(float(torch.corrcoef(torch.stack((last_value, next_value)))[0, 1])) < 3 / len(split) ** 0.5
        starts = [start for start in range(begin, end - 10) if known[start + 10] and known[start : start + 10].any()]
        assert torch.allclose(next_value.double(), standardized[[start + 10 for start in starts]], atol=1e-5), (
            "targets are the values of the file"
        )
        for row, start in enumerate(starts[:50]):
            steps = np.arange(10)[known[start : start + 10]]
            filled = np.interp(np.arange(10), steps, standardized[start + steps])
            assert np.allclose(batch.inputs["x"][row, :, 0], filled, atol=1e-5), "only values of the same window"


def test_window_without_input_values_is_dropped(tmp_path: Path) -> None:
    lines = hourly_lines()
    for row in range(21, 33):
        lines[row] = lines[row].rpartition(",")[0] + ","
    data = load_series(write_lines(tmp_path, lines), time="when", gaps="interpolate")
    x = data.train.batch(torch.arange(len(data.train)), 0).inputs["x"]
    assert x.isfinite().all()
    starts = [
        start
        for start in range(46)
        if not set(range(20, 32)) & set(range(start + 10, start + 15)) and start not in (20, 21, 22)
    ]
    assert len(data.train) == len(starts)


def test_gaps_drop_leaves_contiguous_windows_only(tmp_path: Path) -> None:
    data = load_series(write_lines(tmp_path, lines_with_gaps()), time="when", gaps="drop", columns=["a"])
    counts = read_counts(data, "train")
    for row in counts:
        assert row == list(range(int(row[0]), int(row[0]) + 15)), "every step one later than the one before"
    missing = {20, 21, 22, 40}
    assert [row[0] for row in counts] == [start for start in range(46) if not missing & set(range(start, start + 15))]
    targets = get_targets(get_split(data))
    assert targets.isfinite().all()
    assert len(targets) == len(counts)
    batches = list(data.train.iter_batches(torch.arange(len(counts)).split(4), 0))
    assert torch.equal(torch.cat([batch.target for batch in batches if batch.target is not None]), targets)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(len(counts)))


def test_windows_without_time_column_cross_gaps(tmp_path: Path) -> None:
    """Control: without timestamps the rows around a gap look contiguous."""
    data = load_series(write_lines(tmp_path, lines_with_gaps()), columns=["a"])
    assert any(row != list(range(int(row[0]), int(row[0]) + 15)) for row in read_counts(data, "train"))


def test_moved_split_drops_the_same_windows(tmp_path: Path) -> None:
    for gaps in ("drop", "interpolate"):
        split = get_split(load_series(write_lines(tmp_path, lines_with_gaps()), time="when", gaps=gaps))
        copy = split.to(torch.device("cpu"))
        assert len(copy) == len(split)
        assert torch.equal(get_targets(copy), get_targets(split))
        rows = torch.arange(len(split))
        assert torch.equal(copy.batch(rows, 0).inputs["x"], split.batch(rows, 0).inputs["x"])


def test_split_without_usable_window_raises(tmp_path: Path) -> None:
    lines = hourly_lines()
    sparse = [line if row % 10 else line.rpartition(",")[0] + "," for row, line in enumerate(lines)]
    sparse[0] = lines[0]
    assert "every window of 15 steps in the train split has a missing value" in load_error(
        write_lines(tmp_path, sparse), gaps="drop", time="when"
    )
    sparse = [line if row % 5 else line.rpartition(",")[0] + "," for row, line in enumerate(lines)]
    sparse[0] = lines[0]
    assert "every window of 15 steps in the train split has a missing target" in load_error(
        write_lines(tmp_path, sparse), gaps="interpolate", time="when"
    )
    empty_start = [line if row > 70 or not row else line.rpartition(",")[0] + "," for row, line in enumerate(lines)]
    assert "no number in the 60 training rows" in load_error(
        write_lines(tmp_path, empty_start), gaps="drop", time="when"
    )


def test_seasonal_naive_scores_skip_windows_with_gaps(tmp_path: Path) -> None:
    path = write_lines(tmp_path, lines_with_gaps())
    data = load_series(path, time="when", gaps="drop", columns=["a"])
    assert windows.seasonal_naive_scores(get_split(data), 1, data.info.target.scale)["mae"] == pytest.approx(3)
