"""Checkpoints with missing, wrong or extra values are refused with file and key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import trainer
from trainer.engine.checkpoint import BEST, LAST
from trainer.inference import evaluate, inspection, sample
from trainer.runs import saved_run, train
from trainer.utils.errors import ConfigError

Change = Callable[[dict[str, Any]], object]
OVERRIDES = [
    "model=mlp",
    "data=moons",
    "data.rows=60",
    "model.hidden=[4]",
    "epochs=2",
    "ema=0.9",
    "threads=1",
    "draw=false",
]


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("finished") / "run"
    trainer.run(trainer.compose([*OVERRIDES, "scheduler=plateau", f"hydra.run.dir={path}"]))
    return path


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """Copy the finished run and mark it as interrupted."""
    path = tmp_path / "run"
    shutil.copytree(finished_run, path)
    results = path / "results.json"
    results.write_text(results.read_text().replace('"finished"', '"interrupted"'))
    return path


def edit_checkpoint(file: Path, change: Change) -> None:
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)


def set_value(value: Any, *keys: Any) -> Change:
    """Return a change that sets a nested value."""

    def change(state: dict[str, Any]) -> None:
        node = state
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


@pytest.mark.slow
def test_unedited_files_are_accepted(run: Path) -> None:
    evaluate.evaluate_run(saved_run.load(run))
    assert train.resume_run(saved_run.load(run)).status == "finished"


@pytest.mark.parametrize(
    "key",
    ["run_metadata", "data", "task", "position", "history", "best", "random", "param_groups", "running_totals"],
)
def test_last_checkpoint_without_a_part_raises(run: Path, key: str) -> None:
    edit_checkpoint(run / LAST, lambda state: state.pop(key))
    with pytest.raises(ConfigError, match=rf"last\.pt: .*\b{key}\b"):
        train.resume_run(saved_run.load(run))


INVALID_LAST: dict[str, Change] = {
    "format_version": set_value(torch.zeros(0), "format_version"),
    "format": set_value(2, "format"),
    "run_metadata.threads": set_value(-3, "run_metadata", "threads"),
    "run_metadata.config.model.hidden": set_value(torch.ones(3), "run_metadata", "config", "model", "hidden"),
    "position.step": set_value(5, "position", "step"),
    "position.epoch": set_value("2", "position", "epoch"),
    "running_totals.seconds": set_value([], "running_totals", "seconds"),
    "running_totals.sums": set_value((0.0,), "running_totals", "sums"),
    "history.1.train_loss": set_value("0.5", "history", 1, "train_loss"),
    "history": set_value(1, "history", 1, "epoch"),
    "history.0.step": lambda state: state["history"][0].pop("step"),
    "history.0.val_accuracy": lambda state: [row.pop("val_accuracy") for row in state["history"]],
    "best.score": set_value(2.0, "best", "score"),
    "best": set_value(9, "best", "epoch"),
    "param_groups.model.ema": set_value(None, "param_groups", "model", "ema"),
    "param_groups.model.lr": set_value(float("nan"), "param_groups", "model", "lr"),
    "param_groups.model.optimizer.averages.mean": set_value(
        torch.zeros(3), "param_groups", "model", "optimizer", "averages", "mean"
    ),
    "param_groups.model.schedule.num_bad_validations": set_value(
        -1, "param_groups", "model", "schedule", "num_bad_validations"
    ),
    "param_groups.other": set_value({}, "param_groups", "other"),
    "scaler": set_value({"scale": 1.0}, "scaler"),
    "random: python": set_value([3, [1, 2], None], "random", "python"),
    "random: torch": set_value(torch.zeros(5056, dtype=torch.uint8), "random", "torch"),
    "random: numpy": set_value(["MT19937", torch.zeros(624, dtype=torch.uint32), 700, 0, 0.0], "random", "numpy"),
    "extra": set_value(1, "extra"),
}


@pytest.mark.parametrize("key", INVALID_LAST)
def test_last_checkpoint_with_a_wrong_value_raises(run: Path, key: str) -> None:
    edit_checkpoint(run / LAST, INVALID_LAST[key])
    with pytest.raises(ConfigError) as caught:
        train.resume_run(saved_run.load(run))
    assert f"{LAST}: {key}" in str(caught.value)
    assert len(caught.value.problems) < 9
    assert json.loads((run / "results.json").read_text())["status"] == "interrupted"


INVALID_BEST: dict[str, Change] = {
    "score": set_value("0.9", "score"),
    "run_metadata.identity": set_value(None, "run_metadata", "identity"),
    "data": set_value(None, "data"),
    "data.dataset_info.class_names": set_value(["b", "a"], "data", "dataset_info", "class_names"),
    "data.excerpts.test": set_value(None, "data", "excerpts", "test"),
    "data.fingerprint": set_value(5, "data", "fingerprint"),
    "data.fitted": set_value({}, "data", "fitted"),
    "task.progress": set_value(torch.zeros((), dtype=torch.float64), "task", "progress"),
}


@pytest.mark.parametrize("key", INVALID_BEST)
def test_best_checkpoint_with_a_wrong_value_raises(run: Path, key: str) -> None:
    edit_checkpoint(run / BEST, INVALID_BEST[key])
    for use in (evaluate.evaluate_run, inspection.summarize_layers, train.resume_run):
        with pytest.raises(ConfigError) as caught:
            use(saved_run.load(run))
        assert f"{BEST}: {key}" in str(caught.value)


@pytest.mark.slow
def test_reordered_preprocessing_raises(tmp_path: Path) -> None:
    """It has the right types and would be read without an error."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60)
    overrides = [
        "model=char_lstm",
        "data=text_file",
        f"data.path={tmp_path}/text.txt",
        "data.seq_len=8",
        "model.hidden_size=4",
        "max_steps=2",
    ]
    path = tmp_path / "run"
    trainer.run(trainer.compose([*overrides, "threads=1", "draw=false", f"hydra.run.dir={path}"]))

    def reverse(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: reverse(item) for key, item in value.items()}
        if isinstance(value, list):
            return value[::-1]
        return value[::-1] if isinstance(value, str) and len(value) > 5 else value

    def change(state: dict[str, Any]) -> None:
        state["data"]["fitted"]["tokenizer"] = reverse(state["data"]["fitted"]["tokenizer"])

    edit_checkpoint(path / BEST, change)
    with pytest.raises(ConfigError, match=r"best\.pt: data\.fitted\.tokenizer is not what the run saved"):
        list(sample.sample_run(saved_run.load(path), {}))


@pytest.mark.slow
def test_checkpoint_of_another_run_raises(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    trainer.run(trainer.compose([*OVERRIDES, "scheduler=plateau", "seed=1", f"hydra.run.dir={other}"]))
    for name in (BEST, LAST):
        content = (run / name).read_bytes()
        shutil.copy(other / name, run / name)
        with pytest.raises(ConfigError, match="belongs to another run"):
            train.resume_run(saved_run.load(run))
        (run / name).write_bytes(content)
