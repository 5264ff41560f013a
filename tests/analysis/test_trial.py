"""Times and refusals that follow from the report of a trial."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer.analysis import plan
from trainer.analysis.plan import make_plan
from trainer.analysis.plan_screen import format_macs, format_plan
from trainer.analysis.trial import Trial, TrialError, run_trial

REPORT: dict[str, Any] = {
    **{"imported_at": 2.0, "fit_start": 3.0, "fit_end": 20.0, "ended_at": 24.0, "once": 0.5, "exit_start": 25.0},
    "rate": {"step": 0.1, "epoch": 0.05, "validation": 0.2, "preview": 0.3, "steps_per_epoch": 10, "val_every": 2},
    **{"batches": 10, "total_steps": 45, "macs": 1200, "training_rows": 300},
    **{"params": 17, "device": "cpu", "threads": 1, "memory_bytes": 10**8, "device_bytes": 0},
    "checkpoint_bytes": {"last.pt": 3000, "best.pt": 1000},
    "data": {"rows": {"train": [300, "rows"], "val": [9, "rows"], "test": [8, "rows"]}, "lines": ["2 classes"]},
}
SMALL = ("model=mlp", "data=moons", "epochs=2", "threads=1")


def test_the_time_of_a_run_is_the_sum_of_its_parts() -> None:
    trial = Trial(REPORT, started_at=0.0, exited_at=25.5)
    # 45 steps are 5 epochs with 3 validations, each with a snapshot.
    training = 0.5 + 45 * 0.1 + 5 * 0.05 + 3 * (0.2 + 0.3)
    assert trial.estimate_training_seconds(45) == pytest.approx(training)
    assert trial.estimate_seconds(45) == pytest.approx(3.0 + training + 4.0 + 0.5)


def test_a_budget_chooses_the_steps_that_fit() -> None:
    trial = Trial(REPORT, started_at=0.0, exited_at=25.5)
    steps = trial.choose_steps(60.0)
    assert trial.estimate_training_seconds(steps) <= 59.0 < trial.estimate_training_seconds(steps + 1)


def plan_with(monkeypatch: pytest.MonkeyPatch, *overrides: str, **changes: Any) -> plan.Plan:
    monkeypatch.setattr(plan, "run_trial", lambda *_: Trial(REPORT | changes, 0.0, 25.5))
    return make_plan([*SMALL, *overrides], [], is_sweep=any("," in text for text in overrides))


def test_a_plan_of_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    text = format_plan(plan_with(monkeypatch))
    assert max(map(len, text.splitlines())) <= 60
    for part in (
        "17 parameters",
        "300 / 9 / 8 rows; 10 batches",
        "64 rows, 1.2 k multiply-adds, 137 ms on",
        "45 steps",
    ):
        assert part in text
    assert "refused" not in text


def test_the_time_of_a_step_times_their_number_is_that_of_training(monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = plan_with(monkeypatch).runs
    assert run.seconds_per_step * run.steps == pytest.approx(run.list_parts()["training"])


def test_a_plan_names_the_widths_of_a_matched_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a run on a line of its own, of the jobs of a sweep behind their values."""
    monkeypatch.setenv("COLUMNS", "110")
    match = ("match=params", "target=2k")
    one = plan_with(monkeypatch, *match, widths={"hidden": [40, 40]})
    assert "match    params=2k: model.hidden=[40,40]\n" in format_plan(one)
    many = plan_with(monkeypatch, *match, "batch_size=8,16", widths={"hidden": [40, 40]})
    assert "batch_size=16 (model.hidden=[40,40])" in " ".join(format_plan(many).split())
    assert "match" not in format_plan(plan_with(monkeypatch, widths={}))


def test_a_budget_without_time_for_a_step_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "run_trial", lambda *_: Trial(REPORT, 0.0, 25.5))
    made = make_plan([*SMALL[:2], "budget=1s"], [], is_sweep=False)
    (reason,) = made.refusals
    assert "budget: 1s given, but loading and measuring take 1.5 s" in reason
    assert make_plan([*SMALL[:2], "budget=4s"], [], is_sweep=False).runs[0].steps > 1


def test_too_little_disk_and_memory_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    made = plan_with(monkeypatch, memory_bytes=10**18, checkpoint_bytes={"last.pt": 10**18, "best.pt": 1})
    assert [reason.partition(":")[0] for reason in made.refusals] == ["disk full", "out of memory"]


def test_what_the_time_of_a_sweep_leaves_out_is_noted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "110")
    text = format_plan(plan_with(monkeypatch, "batch_size=8,16", "seed=0,1", "members=auto", "logger=[csv,mlflow]"))
    assert text.count("note     not timed: loggers mlflow\n") == 1
    assert text.count("note     members=auto: the time is that of jobs in processes of their own") == 1
    assert "note" not in format_plan(plan_with(monkeypatch, "batch_size=8,16"))


def test_a_sweep_shares_imports_exit_and_the_places(monkeypatch: pytest.MonkeyPatch) -> None:
    one = plan_with(monkeypatch).seconds
    many = plan_with(monkeypatch, "seed=0,1,2,3", "jobs=2")
    assert one is not None
    assert (len(many.runs), many.at_a_time) == (1, 2)
    assert many.seconds == pytest.approx(2.5 + 2 * (one - 2.5))
    assert "4 jobs, 2 at a time" in format_plan(many)


def test_a_run_that_fails_in_its_trial_would_be_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> Trial:
        raise TrialError("out of memory in the backward pass", 4)

    monkeypatch.setattr(plan, "run_trial", fail)
    made = make_plan(SMALL, [], is_sweep=False)
    assert made.refusals == ["out of memory in the backward pass"]
    assert "refused  out of memory" in format_plan(made)
    assert made.to_plain_values()["runs"][0]["refused"] == made.refusals
    assert made.to_plain_values()["seconds"] is None


def test_checkpoints_are_counted_as_often_as_they_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan_with(monkeypatch).runs[0].disk_bytes == 3 * 3000 + 1000
    kept = plan_with(monkeypatch, "keep_best=3")
    assert kept.runs[0].disk_bytes > 3 * 3000 + 3 * 1000
    assert replace(kept.runs[0], trial=None).to_plain_values()["refused"] == []


@pytest.mark.parametrize(("macs", "text"), [(None, "not counted"), (7, "7 multiply"), (2_500_000, "2.5 M multiply")])
def test_multiply_adds_as_text(macs: int | None, text: str) -> None:
    assert text in format_macs(macs)


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_a_trial_does_not_import_the_files_of_the_user() -> None:
    for name in ("secrets", "numbers"):
        Path(f"{name}.py").write_text("raise SystemExit('the file of the user')")
    assert run_trial([*SMALL, "data.rows=30", "draw=false"], []).report["total_steps"] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("cpu_time", [False, True])
def test_the_parts_of_a_trial_follow_one_another_by_either_clock(cpu_time: bool) -> None:
    trial = run_trial([*SMALL, "data.rows=30", "draw=false"], [], cpu_time=cpu_time)
    events = [trial.report[name] for name in ("imported_at", "fit_start", "fit_end", "ended_at", "exit_start")]
    times = [trial.started_at, *events, trial.exited_at]
    assert times == sorted(times)
    assert times[-1] - times[0] == pytest.approx(
        trial.startup_seconds
        + (trial.report["fit_end"] - trial.report["fit_start"])
        + trial.final_seconds
        + (trial.report["exit_start"] - trial.report["ended_at"])
        + trial.exit_seconds
    )
