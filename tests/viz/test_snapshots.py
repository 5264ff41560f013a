"""Snapshots during training: files, resuming, and the figure at the end."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from trainer.config import compose
from trainer.engine.trainer import Trainer
from trainer.runs import run_report, saved_run, train
from trainer.utils.errors import Interrupted
from trainer.viz import snapshots

SMALL = ("model=wgan_gp", "data=ring", "data.rows=400", "batch_size=64", "task.samples=50", "threads=1", "ema=0.9")


def train_run(*overrides: str) -> Path:
    return Path(train.run(compose.compose([*SMALL, *overrides])).run_dir)


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_snapshots_share_noise_and_do_not_change_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = train_run("epochs=3", "val_every=1")
    names = [f"epoch-{number:04d}" for number in (1, 2, 3)]
    files = sorted(path.name for path in (folder / snapshots.SNAPSHOT_DIR).iterdir())
    assert files == sorted(f"{name}.{suffix}" for name in names for suffix in ("npy", "png"))
    assert (folder / "progress.png").stat().st_size > 1000
    first, second = (np.load(folder / snapshots.SNAPSHOT_DIR / f"{name}.npy") for name in names[:2])
    assert first.shape == second.shape
    assert 0 < np.abs(first - second).max() < 1  # the same noise, with weights of a later epoch
    monkeypatch.setattr(snapshots.SampleSnapshots, "_save_snapshot", lambda *_: None)
    without_snapshots = train_run("epochs=3", "val_every=1")
    assert not (without_snapshots / snapshots.SNAPSHOT_DIR).exists()
    scores = [
        [row.split(",")[4:] for row in (path / "metrics.csv").read_text().splitlines()]
        for path in (folder, without_snapshots)
    ]
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_long_run_keeps_every_fifth_snapshot() -> None:
    folder = train_run("epochs=40", "val_every=1")
    epochs = [int(path.stem.split("-")[1]) for path in sorted((folder / snapshots.SNAPSHOT_DIR).glob("*.npy"))]
    assert epochs == [1, *range(5, 41, 5)]


@pytest.mark.slow
@pytest.mark.usefixtures("in_tmp")
def test_resumed_run_has_the_same_snapshots(monkeypatch: pytest.MonkeyPatch) -> None:
    reference = train_run("epochs=4", "val_every=1")

    def stop(_: run_report.RunReporter, trainer: Trainer, __: object) -> None:
        if trainer.step == 2 * len(trainer.train_loader) + 1:
            raise Interrupted("stopped by the test", 2)

    with monkeypatch.context() as patch:
        patch.setattr(run_report.RunReporter, "on_step_end", stop)
        with pytest.raises(Interrupted):
            train_run("epochs=4", "val_every=1", "hydra.run.dir=outputs/stopped")
    stopped = Path("outputs/stopped")
    assert len(list((stopped / snapshots.SNAPSHOT_DIR).glob("*.npy"))) == 2
    train.resume_run(saved_run.load(stopped))
    names = sorted(path.name for path in (reference / snapshots.SNAPSHOT_DIR).iterdir())
    assert names == sorted(path.name for path in (stopped / snapshots.SNAPSHOT_DIR).iterdir())
    for path in [*(reference / snapshots.SNAPSHOT_DIR).iterdir(), reference / "progress.png"]:
        assert path.read_bytes() == (stopped / path.relative_to(reference)).read_bytes()
