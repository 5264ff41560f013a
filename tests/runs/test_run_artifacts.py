"""Artifacts and results of runs that are killed, interrupted or fail."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.in_process import read_metrics, run, send_signal_at
from tests.helpers.marks import mark_slow_after
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.runs import run_artifacts, run_context, run_dir, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import Interrupted, SystemFault
from trainer.viz import artifact_writer, plots
from trainer.viz.loggers import csv_logger

pytestmark = pytest.mark.usefixtures("in_tmp")

WITH_FIGURES = (
    *("model=cnn", "data=digits", "data.size=8", "model.channels=[2,2,2]", "model.adaptive_size=1", "model.hidden=[4]"),
    *("epochs=1", "batch_size=512", "threads=1"),
)
"""A run with figures besides the curves."""


def train_with_figures(*overrides: str) -> Path:
    return Path(train.run(compose.compose([*WITH_FIGURES, *overrides])).run_dir)


class Killed(BaseException):
    """Simulates SIGKILL."""


def list_files(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} - {".lock"}


def read_figures(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.glob("*.png")}


def kill_before_call(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Path:
    """Train until a function is called and end there without recording why; return the run directory."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    def record_nothing(*_: object) -> None: ...

    with monkeypatch.context() as patched:
        patched.setattr(module, name, die)
        patched.setattr(train, "record_stop", record_nothing)
        patched.setattr(run_context, "record_stop", record_nothing)
        with pytest.raises(Killed):
            train_with_figures("hydra.run.dir=outputs/cut")
    return Path("outputs/cut")


@pytest.mark.slow
@pytest.mark.parametrize(
    "place",
    [
        (run_artifacts, "draw_curves"),
        pytest.param((artifact_writer, "write_artifacts"), marks=pytest.mark.slow),
        pytest.param((train, "_draw_artifacts"), marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_while_drawing_is_completed(place: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train_with_figures()
    cut = kill_before_call(monkeypatch, *place)
    assert run_dir.read_results(cut)["status"] == "finished"
    assert run_dir.read_results(cut)["artifacts"] is None
    train.resume_run(saved_run.load(cut))
    assert list_files(cut) == list_files(whole) >= {"curves.png", "metrics.csv", "confusion.png"}
    assert read_figures(cut) == read_figures(whole)
    result, before = run_dir.read_results(cut), run_dir.read_results(whole)
    for key in ("test", "val", "baseline", "best_possible", "artifacts", "status", "params"):
        assert result[key] == before[key], key


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(1, ["curves.png", "metrics.csv", "confusion.png"]))
def test_removed_files_are_recreated(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = train_with_figures()
    before = (path / name).read_bytes()
    (path / name).unlink()
    assert train_with_figures("resume=auto") == path
    assert name in capsys.readouterr().out
    # The learning rates between validations need the model; the rest of the curves is in the checkpoint.
    assert (path / name).read_bytes() == before or name == "curves.png"
    train_with_figures("resume=auto")
    assert "nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_curves_and_metrics_are_recreated_without_data_or_model(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(run().run_dir)
    (path / "curves.png").unlink()
    (path / "metrics.csv").write_text("")
    monkeypatch.setattr(train, "build_components", None)
    train.resume_run(saved_run.load(path))
    assert (path / "curves.png").stat().st_size > 1000
    assert len(read_metrics(path)) == 2


def test_finished_run_without_last_checkpoint_is_left_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run().run_dir)
    for name in ("curves.png", checkpoint.LAST):
        (path / name).unlink()
    assert run("resume=auto").status == "finished"
    assert "without curves.png; nothing to do" in capsys.readouterr().out


def test_the_previous_checkpoint_of_a_finished_run_is_not_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run().run_dir)
    (path / checkpoint.LAST).rename(path / checkpoint.PREVIOUS)
    assert run("resume=auto").status == "finished"
    assert "is finished; nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupt_while_drawing_leaves_a_finished_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(plots, "draw_training_curves", interrupt)
        with pytest.raises(Interrupted, match="train resume outputs/cut"):
            run("draw=true", "hydra.run.dir=outputs/cut")
    assert run_dir.read_results(Path("outputs/cut"))["status"] == "finished"
    train.resume_run(saved_run.load(Path("outputs/cut")))
    assert Path("outputs/cut/curves.png").exists()


@pytest.mark.parametrize("name", mark_slow_after(1, ["curves.png", "confusion.png", "results.json"]))
def test_scores_are_printed_when_the_disk_is_full(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are printed before anything is written or drawn after training."""
    replace = os.replace

    def fail_to_replace(source: Path, target: Path) -> None:
        if Path(target).name == name and Path("outputs/cut/last.pt").exists():
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_to_replace)
    with pytest.raises(SystemFault, match=f"cannot write .*{name}: No space left"):
        train_with_figures("hydra.run.dir=outputs/cut")
    output = capsys.readouterr().out
    assert "(accuracy on the test rows)" in output
    assert "saved in" not in output


@pytest.mark.slow
def test_an_interrupted_run_reports_its_progress_and_has_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        send_signal_at(patched, 7, signal.SIGHUP)
        with pytest.raises(Interrupted) as caught:
            run("epochs=4", "hydra.run.dir=outputs/cut")
    assert caught.value.exit_code == 129
    results = run_dir.read_results(Path("outputs/cut"))
    assert (results["status"], results["steps"], results["epochs"]) == ("interrupted", 7, 2)
    assert results["val"]["accuracy"] > 0
    assert Path("outputs/cut/curves.png").stat().st_size > 1000
    assert run("epochs=4", "resume=auto").steps == 12


def test_a_failed_run_reports_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_fault(*_: object) -> None:
        raise SystemFault("no room")

    with monkeypatch.context() as patched:
        patched.setattr(csv_logger, "append_history", raise_fault)
        with pytest.raises(SystemFault, match="no room"):
            run("epochs=4", "hydra.run.dir=outputs/cut")
    results = run_dir.read_results(Path("outputs/cut"))
    assert (results["status"], results["steps"], results["reason"]) == ("failed", 3, "SystemFault: no room")


def test_the_first_error_is_the_one_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Errors of drawing or writing that follow from it must not replace it."""

    def raise_disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fill_disk(*_: object) -> None:
        patched.setattr(os, "replace", raise_disk_full)

    with monkeypatch.context() as patched:
        patched.setattr(csv_logger, "append_history", fill_disk)
        patched.setattr(CheckpointCallback, "_start_save", CheckpointCallback.save)  # none is being written then
        with pytest.raises(SystemFault, match=r"cannot write outputs/cut/best\.pt: No space left on device"):
            run("save_every=0", "hydra.run.dir=outputs/cut")
    results = json.loads(Path("outputs/cut/results.json").read_text())
    assert results["status"] == "failed"
    assert "best.pt" in results["reason"]


def test_artifact_names_outside_the_run_directory_are_missing() -> None:
    path = Path(run().run_dir)
    (path.parent / "secret.txt").write_text("x")
    (path / "sub").mkdir()
    (path / "sub/picture.png").write_text("x")
    (path / "own.png").write_text("x")
    result = Result.read(path)
    outside = f"{path.parent.absolute()}/secret.txt"
    for name in ("x" * 900, "../secret.txt", outside, "sub/picture.png", "..", "", "a\0b"):
        result.artifacts = [name, "own.png"]
        assert run_artifacts.find_missing_artifacts(path, result) == [name]
