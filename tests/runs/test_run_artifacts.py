"""What a run leaves is all there, whenever it was stopped."""

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
from trainer.runs import run_artifacts, run_context, run_dir, saved_run, train
from trainer.runs.results import Result
from trainer.utils.errors import Interrupted, SystemFault
from trainer.viz import artifact_writer, plots
from trainer.viz.loggers import csv_logger

pytestmark = pytest.mark.usefixtures("in_tmp")

PICTURED = (
    *("model=cnn", "data=digits", "data.size=8", "model.channels=[2,2,2]", "model.adaptive_size=1", "model.hidden=[4]"),
    *("epochs=1", "batch_size=512", "threads=1"),
)
"""A run with pictures of its own beside the curves."""


def pictured(*overrides: str) -> Path:
    return Path(train.run(compose.compose([*PICTURED, *overrides])).folder)


class Killed(BaseException):
    """Stands in for a signal that cannot be caught."""


def names(path: Path) -> set[str]:
    return {str(file.relative_to(path)) for file in path.rglob("*") if file.is_file()} - {".lock"}


def pixels(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.glob("*.png")}


def killed_before(monkeypatch: pytest.MonkeyPatch, module: Any, name: str) -> Path:
    """A run that ends without another word when it comes to a call."""

    def die(*_: object, **__: object) -> None:
        raise Killed

    def no_word(*_: object) -> None: ...

    with monkeypatch.context() as patched:
        patched.setattr(module, name, die)
        patched.setattr(train, "record_stop", no_word)
        patched.setattr(run_context, "record_stop", no_word)
        with pytest.raises(Killed):
            pictured("hydra.run.dir=outputs/cut")
    return Path("outputs/cut")


@pytest.mark.parametrize(
    "place",
    [
        (run_artifacts, "draw_curves"),
        pytest.param((artifact_writer, "write_artifacts"), marks=pytest.mark.slow),
        pytest.param((train, "_draw_artifacts"), marks=pytest.mark.slow),
    ],
)
def test_a_run_killed_while_drawing_is_completed(place: tuple[Any, str], monkeypatch: pytest.MonkeyPatch) -> None:
    whole = pictured()
    cut = killed_before(monkeypatch, *place)
    assert run_dir.read_results(cut)["status"] == "finished"
    assert run_dir.read_results(cut)["artifacts"] is None
    train.resume_run(saved_run.load(cut))
    assert names(cut) == names(whole) >= {"curves.png", "metrics.csv", "confusion.png"}
    assert pixels(cut) == pixels(whole)
    result, before = run_dir.read_results(cut), run_dir.read_results(whole)
    for key in ("test", "val", "baseline", "best_possible", "artifacts", "status", "params"):
        assert result[key] == before[key], key


@pytest.mark.parametrize("lost", mark_slow_after(1, ["curves.png", "metrics.csv", "confusion.png"]))
def test_removed_files_are_recreated(lost: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = pictured()
    before = (path / lost).read_bytes()
    (path / lost).unlink()
    assert pictured("resume=auto") == path
    assert lost in capsys.readouterr().out
    # The rates between validations need the model; all else of the curves is in the state.
    assert (path / lost).read_bytes() == before or lost == "curves.png"
    pictured("resume=auto")
    assert "nothing to do" in capsys.readouterr().out


def test_curves_and_metrics_need_neither_data_nor_model(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path(run().folder)
    (path / "curves.png").unlink()
    (path / "metrics.csv").write_text("")
    monkeypatch.setattr(train, "build_components", None)
    train.resume_run(saved_run.load(path))
    assert (path / "curves.png").stat().st_size > 1000
    assert len(read_metrics(path)) == 2


def test_without_its_last_state_a_finished_run_stays_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run().folder)
    for name in ("curves.png", checkpoint.LAST):
        (path / name).unlink()
    assert run("resume=auto").status == "finished"
    assert "without curves.png; nothing to do" in capsys.readouterr().out


def test_the_previous_checkpoint_of_a_finished_run_is_not_resumed(capsys: pytest.CaptureFixture[str]) -> None:
    path = Path(run().folder)
    (path / checkpoint.LAST).rename(path / checkpoint.PREVIOUS)
    assert run("resume=auto").status == "finished"
    assert "is finished; nothing to do" in capsys.readouterr().out


@pytest.mark.slow
def test_an_interrupt_while_drawing_leaves_a_finished_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(plots, "draw_training_curves", slow)
        with pytest.raises(Interrupted, match="train resume outputs/cut"):
            run("draw=true", "hydra.run.dir=outputs/cut")
    assert run_dir.read_results(Path("outputs/cut"))["status"] == "finished"
    train.resume_run(saved_run.load(Path("outputs/cut")))
    assert Path("outputs/cut/curves.png").exists()


@pytest.mark.parametrize("name", mark_slow_after(1, ["curves.png", "confusion.png", "results.json"]))
def test_scores_are_shown_though_the_disk_is_full(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything is written or drawn after training."""
    replace = os.replace

    def full(source: Path, target: Path) -> None:
        if Path(target).name == name and Path("outputs/cut/last.pt").exists():
            raise OSError(28, "No space left on device")
        replace(source, target)

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(SystemFault, match=f"cannot write .*{name}: No space left"):
        pictured("hydra.run.dir=outputs/cut")
    said = capsys.readouterr().out
    assert "(accuracy on the test rows)" in said
    assert "saved in" not in said


@pytest.mark.slow
def test_an_interrupted_run_reports_its_progress_and_has_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        send_signal_at(patched, 7, signal.SIGHUP)
        with pytest.raises(Interrupted) as caught:
            run("epochs=4", "hydra.run.dir=outputs/cut")
    assert caught.value.exit_code == 129
    said = run_dir.read_results(Path("outputs/cut"))
    assert (said["status"], said["steps"], said["epochs"]) == ("interrupted", 7, 2)
    assert said["val"]["accuracy"] > 0
    assert Path("outputs/cut/curves.png").stat().st_size > 1000
    assert run("epochs=4", "resume=auto").steps == 12


def test_a_failed_run_reports_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise SystemFault("no room")

    with monkeypatch.context() as patched:
        patched.setattr(csv_logger, "append_history", full)
        with pytest.raises(SystemFault, match="no room"):
            run("epochs=4", "hydra.run.dir=outputs/cut")
    said = run_dir.read_results(Path("outputs/cut"))
    assert (said["status"], said["steps"], said["reason"]) == ("failed", 3, "SystemFault: no room")


def test_the_first_error_is_the_one_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """What cannot be drawn or written because of it must not take its place."""

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    def fill(*_: object) -> None:
        patched.setattr(os, "replace", full)

    with monkeypatch.context() as patched:
        patched.setattr(csv_logger, "append_history", fill)
        with pytest.raises(SystemFault, match=r"cannot write outputs/cut/best\.pt: No space left on device"):
            run("save_every=0", "hydra.run.dir=outputs/cut")
    said = json.loads(Path("outputs/cut/results.json").read_text())
    assert said["status"] == "failed"
    assert "best.pt" in said["reason"]


def test_a_name_that_is_no_file_of_the_folder_is_missing() -> None:
    path = Path(run().folder)
    (path.parent / "secret.txt").write_text("x")
    (path / "sub").mkdir()
    (path / "sub/picture.png").write_text("x")
    (path / "own.png").write_text("x")
    result = Result.read(path)
    outside = f"{path.parent.absolute()}/secret.txt"
    for name in ("x" * 900, "../secret.txt", outside, "sub/picture.png", "..", "", "a\0b"):
        result.artifacts = [name, "own.png"]
        assert run_artifacts.find_missing_artifacts(path, result) == [name]
