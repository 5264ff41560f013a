"""Gaps in a series of the user's: named, read over or left out, and never predicted."""

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


def with_gaps() -> list[str]:
    """Rows 21 to 23 and 41 are missing; ``b`` lacks rows 6 and 7."""
    lines = hourly_lines()
    lines[6], lines[7] = (",".join([*lines[row].split(",")[:2], "NA"]) for row in (6, 7))
    return [line for row, line in enumerate(lines) if row not in (21, 22, 23, 41)]


def test_missing_rows_and_cells_are_reported_with_their_times(tmp_path: Path) -> None:
    path = write_lines(tmp_path, with_gaps())
    said = load_error(path, time="when")
    assert (
        f"{path}: row 21 (line 22), column 'when': 3 rows missing between 2020-01-01 19:00 and 2020-01-01 23:00;"
        " 4 missing in all, at 2 places" in said
    )
    cell = (
        "row 6 (line 7), column 'b': missing value ('NA') at 2020-01-01 05:00 to 2020-01-01 06:00;"
        " 2 such cells in the column"
    )
    assert cell in said
    assert "data.gaps=interpolate" in said
    assert "data.gaps=drop" in said
    assert "missing value ('NA'); 2 such cells" in load_error(path, columns=["b"]), "without a time column"
    assert split_sizes(load_series(path, time="when", columns=["a"], gaps="drop")) == [14, 16, 16]


def test_interpolation_restores_a_straight_line_in_what_is_read_and_predicts_no_gap(tmp_path: Path) -> None:
    data = load_series(write_lines(tmp_path, with_gaps()), time="when", columns=["a"], gaps="interpolate")
    absent = {20, 21, 22, 40}
    begins = [start for start in range(46) if not absent & set(range(start + 10, start + 15))]
    seen = dict(zip(begins, read_counts(data, "train"), strict=True))
    for start, row in seen.items():
        expected = [float(step) for step in range(start, start + 15)]
        if not absent & {start, start + 9}:
            assert row == expected, "known on both sides of the gap"
    assert seen[20][:4] == [23, 23, 23, 23], "before the first value that is read stands that value"
    assert seen[13][:10] == [13, 14, 15, 16, 17, 18, 19, 19, 19, 19], "and after the last the last"
    assert split_sizes(data) == [len(begins), 16, 16]


def test_what_is_read_says_nothing_of_what_is_predicted(tmp_path: Path) -> None:
    """Of white noise with gaps the last value read would know the next one, were it half of it."""
    noise = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    known = torch.rand(4000, generator=torch.Generator().manual_seed(1)) < 0.7
    cells = [f"{value:.6f}" if there else "" for value, there in zip(noise.tolist(), known.tolist(), strict=True)]
    path = write_lines(tmp_path, ["i,v", *(f"{i},{cell}" for i, cell in enumerate(cells))])
    data = load_series(path, columns=["v"], horizon=1, gaps="interpolate")
    truth = torch.from_numpy(np.array([float(cell or "nan") for cell in cells]))
    standard = (truth - truth[:2400].nanmean()) / np.nanstd(truth[:2400].numpy())
    for part, (first, end) in ((data.train, (0, 2400)), (data.val, (2390, 3200)), (data.test, (3190, 4000))):
        batch = part.batch(torch.arange(len(part)), 0)
        assert batch.target is not None
        last, following = batch.inputs["x"][:, -1, 0], batch.target[:, 0, 0]
        assert abs(float(torch.corrcoef(torch.stack((last, following)))[0, 1])) < 3 / len(part) ** 0.5
        starts = [at for at in range(first, end - 10) if known[at + 10] and known[at : at + 10].any()]
        assert torch.allclose(following.double(), standard[[at + 10 for at in starts]], atol=1e-5), "targets as read"
        for row, at in enumerate(starts[:50]):
            steps = np.arange(10)[known[at : at + 10]]
            filled = np.interp(np.arange(10), steps, standard[at + steps])
            assert np.allclose(batch.inputs["x"][row, :, 0], filled, atol=1e-5), "its own values alone"


def test_a_window_without_a_value_to_read_is_left_out(tmp_path: Path) -> None:
    lines = hourly_lines()
    for row in range(21, 33):
        lines[row] = lines[row].rpartition(",")[0] + ","
    data = load_series(write_lines(tmp_path, lines), time="when", gaps="interpolate")
    x = data.train.batch(torch.arange(len(data.train)), 0).inputs["x"]
    assert x.isfinite().all()
    begins = [
        at for at in range(46) if not set(range(20, 32)) & set(range(at + 10, at + 15)) and at not in (20, 21, 22)
    ]
    assert len(data.train) == len(begins)


def test_no_window_holds_a_gap_or_steps_over_one(tmp_path: Path) -> None:
    data = load_series(write_lines(tmp_path, with_gaps()), time="when", gaps="drop", columns=["a"])
    seen = read_counts(data, "train")
    for row in seen:
        assert row == list(range(int(row[0]), int(row[0]) + 15)), "every step one later than the one before"
    absent = {20, 21, 22, 40}
    assert [row[0] for row in seen] == [s for s in range(46) if not absent & set(range(s, s + 15))]
    found = get_targets(get_split(data))
    assert found.isfinite().all()
    assert len(found) == len(seen)
    batches = list(data.train.iter_batches(torch.arange(len(seen)).split(4), 0))
    assert torch.equal(torch.cat([batch.target for batch in batches if batch.target is not None]), found)
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(len(seen)))


def test_rows_joined_across_a_gap_are_not_a_series(tmp_path: Path) -> None:
    """What leaving out rows, not windows, would give: windows whose steps are not even."""
    glued = load_series(write_lines(tmp_path, with_gaps()), columns=["a"])
    assert any(row != list(range(int(row[0]), int(row[0]) + 15)) for row in read_counts(glued, "train"))


def test_moved_windows_leave_out_the_same(tmp_path: Path) -> None:
    for gaps in ("drop", "interpolate"):
        kept = get_split(load_series(write_lines(tmp_path, with_gaps()), time="when", gaps=gaps))
        moved = kept.to(torch.device("cpu"))
        assert len(moved) == len(kept)
        assert torch.equal(get_targets(moved), get_targets(kept))
        rows = torch.arange(len(kept))
        assert torch.equal(moved.batch(rows, 0).inputs["x"], kept.batch(rows, 0).inputs["x"])


def test_gaps_everywhere_are_refused(tmp_path: Path) -> None:
    lines = hourly_lines()
    often = [line if row % 10 else line.rpartition(",")[0] + "," for row, line in enumerate(lines)]
    often[0] = lines[0]
    assert "every window of 15 steps in the train split has a missing value" in load_error(
        write_lines(tmp_path, often), gaps="drop", time="when"
    )
    often = [line if row % 5 else line.rpartition(",")[0] + "," for row, line in enumerate(lines)]
    often[0] = lines[0]
    assert "every window of 15 steps in the train split has a missing target" in load_error(
        write_lines(tmp_path, often), gaps="interpolate", time="when"
    )
    late = [line if row > 70 or not row else line.rpartition(",")[0] + "," for row, line in enumerate(lines)]
    assert "no number in the 60 training rows" in load_error(write_lines(tmp_path, late), gaps="drop", time="when")


def test_the_rule_of_the_last_period_skips_windows_with_gaps_too(tmp_path: Path) -> None:
    path = write_lines(tmp_path, with_gaps())
    data = load_series(path, time="when", gaps="drop", columns=["a"])
    assert windows.seasonal_naive_scores(get_split(data), 1, data.info.target.scale)["mae"] == pytest.approx(3)
