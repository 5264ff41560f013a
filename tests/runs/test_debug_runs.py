"""``debug=fast`` and ``debug=overfit`` as commands."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.helpers.in_process import call_main
from trainer.config import compose
from trainer.runs import finished_runs, train
from trainer.utils.errors import ConfigError

pytestmark = [pytest.mark.usefixtures("in_tmp"), pytest.mark.slow]
SMALL = ("model=mlp", "data=moons", "data.rows=3000", "model.hidden=[4]", "threads=1")


def test_a_fast_run_is_one_step_of_everything(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, _ = call_main(capsys, monkeypatch, *SMALL, "epochs=50", "debug=fast")
    assert code == 0
    assert "leaderboards leave this run out" in out
    (path,) = (file.parent for file in Path("outputs").rglob("results.json") if not file.parent.is_symlink())
    results = json.loads((path / "results.json").read_text())
    assert (results["steps"], results["debug"], results["status"]) == (1, "fast", "finished")
    assert (path / "confusion.png").exists()
    assert finished_runs.read_runs(Path("outputs")) == []


def test_a_fast_run_is_no_run_of_one_step() -> None:
    fast, one = (compose.compose([*SMALL, change]) for change in ("debug=fast", "max_steps=1"))
    plain, traced = (compose.compose([*SMALL, change]) for change in ("debug=false", "debug=true"))
    assert fast.config_hash != one.config_hash
    assert plain.config_hash == traced.config_hash


def test_evaluations_of_a_fast_run_are_one_batch() -> None:
    result = train.run(compose.compose([*SMALL, "debug=fast", "draw=false", "batch_size=10"]))
    # 40 rows: every accuracy is a multiple of 1/40.
    assert result.test["accuracy"] * 40 == pytest.approx(round(result.test["accuracy"] * 40), abs=1e-9)


def test_overfit_leaves_nothing_and_says_whether_it_passed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("data=digits", "model=mlp", "debug=overfit", "model.dropout=0.5", "threads=1")
    code, out, _ = call_main(capsys, monkeypatch, *arguments)
    assert (code, "PASS" in out) == (0, True), out
    code, out, _ = call_main(capsys, monkeypatch, *arguments, "optimizer.lr=1e-9", "max_steps=5")
    assert (code, "FAIL" in out) == (1, True), out
    assert not list(Path().iterdir())


def test_overfit_is_no_run() -> None:
    with pytest.raises(ConfigError, match="debug=overfit: it checks one model on the command line"):
        train.run(compose.compose([*SMALL, "debug=overfit"]))
