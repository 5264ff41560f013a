"""Positions, durations and remaining time of runs and sweeps."""

from __future__ import annotations

import re

import pytest

from tests.helpers.lab import lab
from trainer.viz import progress_bar
from trainer.viz.progress_bar import Position, SweepProgress, ThroughputMeter, format_duration, parse_position


def test_a_position_is_read_back_from_its_line() -> None:
    text = (
        f"mlp on x: 3 parameters\n{Position(1, 12, 50, 6000).format_position()}  loss "
        f"1\n{Position(2, 12, 1100, 6000).format_position()}"
    )
    assert parse_position(text) == Position(2, 12, 1100, 6000)
    assert Position(2, 12, 1500, 6000).completed_fraction == 0.25
    assert parse_position("nothing yet") is None


@pytest.mark.parametrize("words", [",/,", "1/,", "1" * 1000 + "/1", "²/³"])
def test_malformed_positions_are_ignored(words: str) -> None:
    assert parse_position(f"epoch {words}  step {words}") is None
    assert parse_position(f"epoch 1/2  step 3/4\nepoch {words}  step {words}") == Position(1, 2, 3, 4)


@pytest.mark.parametrize(("seconds", "expected"), [(7.4, "0:07"), (750, "12:30"), (11100, "3:05:00"), (0, "0:00")])
def test_duration_is_formatted(seconds: float, expected: str) -> None:
    assert format_duration(seconds) == expected


def test_a_line_shows_speed_and_remaining_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 rows in 4 steps per epoch; a step takes a second, of which half is not training."""
    trainer = lab("model=mlp", "data=moons", "data.rows=167", "batch_size=25", "epochs=3").trainer
    now = [100.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    meter = ThroughputMeter(trainer, 100, "rows")
    for _ in range(4):
        now[0] += 0.5
        trainer.step += 1
        meter.record_step(trainer)
        now[0] += 0.5
        meter.record_step(trainer)
    line = meter.format_line(trainer, 1, 0.25, 0.75)
    assert line == "epoch 1/3  step 4/12  loss 0.2500  val accuracy 0.7500  50 rows/s  0:08 left"


def test_many_epochs_share_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = lab("model=mlp", "data=moons", "data.rows=50", "epochs=1000").trainer
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    meter = ThroughputMeter(trainer, 50, "rows")
    assert [epoch for epoch in range(1, 31) if meter.is_line_due(trainer, epoch)] == [10, 20, 30]
    now[0] = 11.0
    assert meter.is_line_due(trainer, 31), "a slow epoch has a line"
    trainer.step = trainer.total_steps
    assert meter.is_line_due(trainer, 999)


def test_sweep_shows_positions_of_jobs_and_remaining_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr(progress_bar.time, "monotonic", lambda: now[0])
    progress = SweepProgress(4)
    progress.show_running_jobs([("0-a", None)])
    assert capsys.readouterr().out == "", "a quick job is not announced"
    now[0] = 60.0
    progress.show_running_jobs([("0-a", Position(1, 2, 10, 20)), ("1-b", None)])
    text = capsys.readouterr().out
    assert "0-a: epoch 1/2  step 10/20" in text
    assert "1-b: starting" in text
    assert "0 of 4 jobs done  about 7:00 left" in text  # half a job a minute
    progress.finish_job("finished  0-a", [("1-b", Position(1, 2, 10, 20))])
    assert re.search(r"\[1/4\] finished  0-a  about 1:40 left", capsys.readouterr().out)
    progress.is_stopping = True
    progress.finish_job("interrupted  1-b", [])
    assert capsys.readouterr().out == "[2/4] interrupted  1-b\n"
