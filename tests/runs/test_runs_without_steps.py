"""``epochs=0``: the initial weights are validated, tested and saved as a complete run."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.in_process import read_metrics, run
from tests.helpers.marks import mark_slow_after
from tests.helpers.tiny import CYCLE, PLATEAU, StopAt, tiny
from trainer.config import compose
from trainer.core import rng
from trainer.engine import checkpoint, factory
from trainer.engine.checkpoint import CheckpointManager
from trainer.inference import evaluate
from trainer.runs import run_dir, saved_run, train
from trainer.utils.errors import Interrupted

pytestmark = pytest.mark.usefixtures("in_tmp")
FAMILIES: dict[str, tuple[str, ...]] = {
    "classifier": ("model=mlp", "data=moons", "data.rows=60", "ema=0.9", "scheduler=onecycle"),
    "gan": ("model=cgan", "data=ring", "data.rows=60", "task.samples=20"),
    "vae": ("model=vae", "data=moons", "data.rows=60", "scheduler=plateau", "patience=2", "task.classifier=null"),
    "diffusion": ("model=diffusion", "data=ring", "data.rows=60", "task.samples=20", "model.width=8"),
    "forecaster": ("model=dlinear", "data=sine_trend", "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingLR"),
    "nodes": ("model=gcn", "data=sbm", "compile=false", "accumulate=2", "logger.csv.steps=true"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", mark_slow_after(1, FAMILIES))
def test_initial_weights_are_evaluated_in_a_complete_run(name: str) -> None:
    config = compose.compose([*FAMILIES[name], "epochs=0", "threads=1", "optimizer.lr=1e-3"])
    result = train.run(config)
    path = Path(result.run_dir)
    assert (result.status, result.epochs, result.steps, result.best_epoch) == ("finished", 0, 0, 0)
    assert result.test
    (row,) = read_metrics(path)
    assert (row["epoch"], row["step"], row["train_loss"]) == ("0", "0", "nan")
    assert {file.name for file in path.iterdir()} >= {"best.pt", "last.pt", "config.yaml", "train.log", "curves.png"}
    rng.seed_everything(0)
    task = factory.make_task(config.tree, factory.make_dataset(config.tree), config.names)
    best = checkpoint.load_checkpoint(path / checkpoint.BEST)["task"]
    assert all(torch.equal(value, best[key]) for key, value in task.state_dict().items())
    assert evaluate.evaluate_run(saved_run.load(path)) == json.loads((path / "results.json").read_text())["test"]


@pytest.mark.slow
def test_a_run_without_steps_is_completed_when_its_files_are_lost() -> None:
    path = Path(run("epochs=0").run_dir)
    before = checkpoint.load_checkpoint(path / checkpoint.BEST)
    for name in (checkpoint.BEST, run_dir.METRICS_FILE, run_dir.CURVES_FILE):
        (path / name).unlink()
    train.resume_run(saved_run.load(path))
    restored = checkpoint.load_checkpoint(path / checkpoint.BEST)
    assert (restored["epoch"], restored["step"], restored["score"]) == (0, 0, before["score"])
    assert all(torch.equal(value, before["task"][key]) for key, value in restored["task"].items())
    assert read_metrics(path)[0]["step"] == "0"


@pytest.mark.parametrize("scheduler", [PLATEAU, CYCLE], ids=["plateau", "onecycle"])
def test_an_interrupted_validation_of_the_initial_weights_is_repeated(
    scheduler: dict[str, Any], tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"epochs": 0, "scheduler": scheduler, "ema": 0.5, "patience": 1}
    stopped = tiny(manager=CheckpointManager(tmp_path, {}), callback=StopAt(0, training=False), **keys)
    with pytest.raises(Interrupted):
        # The hook is called by validations that may stop the run.
        stopped.fit()
    resumed = tiny(manager=CheckpointManager(tmp_path, {}), **keys)
    resumed.load_state_dict(checkpoint.load_newest(tmp_path), None)
    resumed.fit()
    whole = tiny(**keys)
    whole.fit()
    assert whole.best.weights is not None
    assert (whole.step, whole.best.epoch, whole.best.step, whole.is_finished()) == (0, 0, 0, True)
    assert [row["val_mse"] for row in resumed.history] == [row["val_mse"] for row in whole.history]
    assert math.isnan(whole.history[0]["train_loss"])
    again = tiny(**keys)
    again.load_state_dict(checkpoint.load_newest(tmp_path), checkpoint.load_checkpoint(tmp_path / checkpoint.BEST))
    again.fit()
    assert len(again.history) == 1


def test_training_schedules_and_progress_are_unchanged_by_the_case() -> None:
    trainer = tiny(epochs=2, scheduler=CYCLE)
    trainer.fit()
    assert [row["epoch"] for row in trainer.history] == [1, 2]
    assert all(math.isfinite(row["train_loss"]) for row in trainer.history)
