"""Members of an ensemble that are trained together: what is printed, what is written, and what stops and resumes."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.helpers.in_process import read_metrics, run
from trainer.engine.member_probe import Verdict
from trainer.engine.trainer import Trainer
from trainer.runs import member_runs, run_dir, run_report, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import Interrupted

pytestmark = [pytest.mark.usefixtures("in_tmp"), pytest.mark.slow]
TOLERANCE = 1e-5


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Train members together, however long it takes; return the numbers of members of each group."""
    sizes: list[int] = []

    def choose(_: object, configs: list[object], *, is_timed: bool) -> Verdict:
        assert is_timed
        sizes.append(len(configs))
        return Verdict(True, "")

    monkeypatch.setattr(member_runs, "choose_members", choose)
    return sizes


def list_numbers(row: dict[str, str]) -> list[float]:
    return [float(value) for value in row.values()]


def check_same_results(result: Result, expected: Result) -> None:
    assert result.identity == expected.identity
    assert result.test == pytest.approx(expected.test, abs=TOLERANCE)
    for number in range(3):
        history, other = (read_metrics(Path(each.run_dir, "members", str(number))) for each in (result, expected))
        assert len(history) == len(other) > 1
        for row, other_row in zip(history, other, strict=True):
            assert list_numbers(row) == pytest.approx(list_numbers(other_row), abs=TOLERANCE)


def test_members_trained_together_are_those_trained_alone(
    together: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run_report, "ANNOUNCE_AFTER_SECONDS", -1.0)
    result = run("ensemble=3")
    assert together == [3]
    out = capsys.readouterr().out
    assert "\nmembers/0: about 0:" in out
    assert "epoch 1/2" not in out
    assert [f"members/{number}, seed {number}, epoch " in out for number in range(3)] == [True] * 3
    assert Path("outputs/latest").resolve() == Path(result.run_dir).resolve()
    monkeypatch.setattr(member_runs, "choose_members", lambda *_, **__: Verdict(False, ""))
    check_same_results(result, run("ensemble=3"))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_members_that_are_stopped_together_resume(
    number: int, together: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = run("ensemble=3")
    apply, updates = Trainer.apply_gradient, 0

    def stop_at_eighth(self: Trainer, *arguments: object) -> None:
        nonlocal updates
        updates += 1
        if updates == 8:
            os.kill(os.getpid(), number)
        apply(self, *arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "apply_gradient", stop_at_eighth)
        with pytest.raises(Interrupted, match=r"resume with: train resume outputs/stopped$"):
            run("ensemble=3", "hydra.run.dir=outputs/stopped")
    assert "train resume" not in capsys.readouterr().out  # of a member
    stopped = Path("outputs/stopped")
    assert Path("outputs/latest").resolve() == stopped.resolve()
    paths = [stopped, *sorted((stopped / "members").iterdir())]
    assert [run_dir.read_results(path)["status"] for path in paths] == ["interrupted"] * 4
    check_same_results(train.resume_run(saved_run.load(stopped)), whole)
    assert together == [3, 3, 3]
