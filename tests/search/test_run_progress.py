"""Lines about the runs of a rung: how many, the best score so far, and an estimate of the time left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.search.run_progress import PlannedWork, RunProgress, estimate_seconds_left
from trainer.search.rungs import RunLength
from trainer.search.trial import RunRecord, Trial


def make_trial(number: int, steps: int = 0, status: str = "paused", seconds: float = 0.0, **options: Any) -> Trial:
    trial = Trial(number, {}, {}, None, Path(str(number)), RunLength(8, 2, 1), (2,), **options)
    history = [{"step": steps, "val_loss": 1.0 / steps}] if steps else []
    trial.__dict__["record"] = RunRecord({"status": status, "monitor": "loss", "seconds": seconds}, history)
    return trial


@pytest.mark.parametrize(("total", "reported"), [(1, []), (3, [1, 2]), (25, [3, 6, 9, 12, 15, 18, 21, 24])])
def test_every_so_many_runs_are_reported_but_not_the_last(total: int, reported: list[int]) -> None:
    trials = [make_trial(number, steps=1) for number in range(total)]
    jobs = [SimpleNamespace(status="waiting") for _ in trials]
    seen: list[int] = []
    progress = RunProgress(trials, jobs, lambda _, count: seen.append(count))  # type: ignore[arg-type]
    for job in jobs:
        job.status = "paused"
        progress.finish_job("paused  name", [])
    assert seen == reported


def test_only_runs_that_have_ended_are_read_again() -> None:
    trials = [make_trial(number, steps=1) for number in range(3)]
    jobs = [SimpleNamespace(status="paused"), SimpleNamespace(status="waiting"), SimpleNamespace(status="waiting")]
    RunProgress(trials, jobs, lambda *_: None).finish_job("paused  name", [])  # type: ignore[arg-type]
    assert ["record" in vars(trial) for trial in trials] == [False, True, True]


def test_a_stopped_run_is_not_reported() -> None:
    jobs = [SimpleNamespace(status="interrupted"), SimpleNamespace(status="waiting")]
    trials = [make_trial(0), make_trial(1)]
    seen: list[int] = []
    progress = RunProgress(trials, jobs, lambda _, count: seen.append(count))  # type: ignore[arg-type]
    progress.finish_job("interrupted  name", [])
    assert seen == []


def test_time_left_counts_steps_and_starts_of_runs() -> None:
    """Runs trained for 8 of 40 seconds of two workers: half a second a step, and 8 s for each of 4 starts."""
    trials = [make_trial(number, steps=4, seconds=2.0) for number in range(4)] + [make_trial(4), make_trial(5)]
    planned = PlannedWork(starts=8, steps=40)
    assert estimate_seconds_left(trials, planned, 20.0, 2) == pytest.approx(((40 - 16) * 0.5 + 4 * 8.0) / 2)
    assert estimate_seconds_left(trials, planned, 20.0, 1) == pytest.approx((40 - 16) * 0.5 + 4 * 3.0)


def test_finished_runs_of_other_commands_are_no_work_and_no_measurement() -> None:
    reused = make_trial(0, steps=8, status="finished", seconds=1000.0, is_reused=True)
    own = make_trial(1, steps=2, seconds=2.0)
    assert estimate_seconds_left([reused, own], PlannedWork(4, 16), 2.0, 1) == pytest.approx(6.0)


def test_time_left_is_unknown_before_a_run_has_been_validated() -> None:
    assert estimate_seconds_left([make_trial(0), make_trial(1)], PlannedWork(2, 16), 5.0, 1) is None
