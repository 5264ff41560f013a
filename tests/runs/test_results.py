"""``results.json``: strict JSON, recovery from a checkpoint, and types of its fields."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.commands import write
from tests.helpers.finished_runs import read_leaderboard
from tests.helpers.in_process import run, send_signal_at
from tests.helpers.marks import mark_slow_after
from trainer.engine import checkpoint
from trainer.inference import evaluate
from trainer.runs import recovery, run_dir, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError, Interrupted


def reject_constant(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def make_result(path: Path, **changes: Any) -> Result:
    defaults = {"run_dir": str(path), "identity": "i", "status": "finished", "options": {}, "overrides": []}
    names = {"model": "mlp", "data": "moons", "task": "classification", "seed": 0, "monitor": "nll"}
    return Result(**defaults | names | changes)  # type: ignore[arg-type]


def test_nonfinite_scores_are_written_as_null_and_read_as_nan(tmp_path: Path) -> None:
    scores = {"nll": 0.5, "iou_3": math.nan, "mse": math.inf}
    make_result(tmp_path, val=scores, test=scores, baseline={"nll": -math.inf}, best_possible={}).write()
    text = (tmp_path / "results.json").read_text()
    assert json.loads(text, parse_constant=reject_constant)["test"] == {"nll": 0.5, "iou_3": None, "mse": None}
    again = Result.read(tmp_path)
    assert again.test["nll"] == again.val["nll"] == 0.5
    assert all(math.isnan(x) for x in (again.test["iou_3"], again.val["mse"], again.baseline["nll"]))
    assert again.best_epoch is None
    (entry,) = read_leaderboard(tmp_path)
    assert entry.test == 0.5
    assert math.isnan(entry.baseline or 0)


def test_write_in_place_updates_the_status_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = make_result(tmp_path, status="running")
    result.write()

    def raise_disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", raise_disk_full)
    result.status = "failed"
    result.write_in_place()
    assert run_dir.read_results(tmp_path)["status"] == "failed"
    assert len(list(tmp_path.iterdir())) == 1


def interrupt_run(monkeypatch: pytest.MonkeyPatch, number: int = 7) -> Path:
    with monkeypatch.context() as patched:
        send_signal_at(patched, number, signal.SIGTERM)
        with pytest.raises(Interrupted):
            run("epochs=4", "save_every=0", "hydra.run.dir=outputs/cut")
    return Path("outputs/cut")


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
@pytest.mark.parametrize("text", mark_slow_after(1, [None, "", '{"identity": "']))
@pytest.mark.parametrize("resume_by", ["auto", "verb", pytest.param("key", marks=pytest.mark.slow)])
def test_results_are_rebuilt_from_the_checkpoint(
    text: str | None, resume_by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run("epochs=4", "draw=false", "hydra.run.dir=elsewhere/whole")
    cut = interrupt_run(monkeypatch)
    before = run_dir.read_results(cut)
    (cut / "results.json").unlink()
    if text is not None:
        write(cut, {"results.json": text})
    rebuilt = recovery.read_results(cut)
    for key in ("identity", "options", "overrides", "model", "data", "task", "seed", "steps", "epochs", "threads"):
        assert rebuilt[key] == before[key], key
    if resume_by == "verb":
        again = train.resume_run(saved_run.load(cut))
    else:
        again = run("epochs=4", "resume=auto" if resume_by == "auto" else f"resume={cut}")
    assert (again.run_dir, again.status, again.steps, again.test) == (str(cut), "finished", 12, whole.test)
    assert [path.name for path in Path("outputs").iterdir() if not path.is_symlink()] == ["cut"]
    assert run_dir.read_results(cut)["status"] == "finished"


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_inference_needs_no_results_file(capsys: pytest.CaptureFixture[str]) -> None:
    result = run()
    path = Path(result.run_dir)
    (path / "results.json").unlink()
    assert evaluate.evaluate_run(saved_run.load(path)) == result.test
    assert "accuracy" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["last.pt", "previous.pt"])
def test_foreign_checkpoint_is_not_used_for_recovery(name: str, tmp_path: Path) -> None:
    assert recovery.read_results(tmp_path) == {}
    for content in ({"task": {}}, {"about": [1], "position": {}}, {"about": {"config": 3}, "position": {"step": 1}}):
        checkpoint.save_checkpoint(content, tmp_path / "state.pt")
        (tmp_path / "state.pt").rename(tmp_path / name)
        assert recovery.read_results(tmp_path) == {}
    (tmp_path / name).write_text("no checkpoint")
    assert recovery.read_results(tmp_path) == {}


@pytest.mark.usefixtures("in_tmp")
@pytest.mark.slow
def test_corrupt_checkpoint_raises_except_with_resume_auto(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = run("epochs=4", "draw=false", "hydra.run.dir=elsewhere/whole")
    cut = interrupt_run(monkeypatch)
    last, before = cut / "last.pt", (cut / "previous.pt").read_bytes()
    last.write_bytes(last.read_bytes()[:-100])
    for resume in (lambda: run("epochs=4", f"resume={cut}"), lambda: train.resume_run(saved_run.load(cut))):
        with pytest.raises(ConfigError, match=r"last\.pt is not a complete checkpoint") as caught:
            resume()
        assert caught.value.exit_code == 2
        assert f"mv {cut}/previous.pt {cut}/last.pt" in str(caught.value)
        assert (cut / "previous.pt").read_bytes() == before
    assert run("epochs=4", "resume=auto").test == whole.test
    assert "resuming from outputs/cut/previous.pt" in caplog.text


WRONG_TYPES = [
    ("seconds", "long"),
    ("seconds", math.nan),
    ("steps", 1.5),
    ("status", "done"),
    ("overrides", [["a=1"]]),
    ("options", {"model": 5}),
    ("val", {"nll": "0.5"}),
    ("test", [0.5]),
    ("baseline", {"nll": {}}),
    ("artifacts", "curves.png"),
    ("best_epoch", "1"),
    ("working_dir", None),
]


@pytest.mark.parametrize(("key", "value"), WRONG_TYPES)
def test_field_of_wrong_type_raises_with_its_key(tmp_path: Path, key: str, value: object) -> None:
    make_result(tmp_path, val={"nll": 0.5}, test={"nll": 0.5}).write()
    file = tmp_path / "results.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {key: value}))
    with pytest.raises(ConfigError, match=rf"results\.json is not a results file of a run: {key}\b"):
        Result.read(tmp_path)
    with pytest.raises(ConfigError, match=key):
        saved_run.load(tmp_path)
    assert read_leaderboard(tmp_path) == []


def test_results_nested_too_deep_are_read_as_empty(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text("[" * 100_000)
    assert run_dir.read_results(tmp_path) == {}
