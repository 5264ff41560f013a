"""Checkpoints that torch reads, with something else in them, are refused by file and key."""

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
from trainer.runs import evaluate, inspection, sample, saved_run, train
from trainer.utils.errors import ConfigError

Change = Callable[[dict[str, Any]], object]
WORDS = [
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
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "run"
    trainer.run(trainer.compose([*WORDS, "scheduler=plateau", f"hydra.run.dir={path}"]))
    return path


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    """A copy of a run that says it was stopped."""
    path = tmp_path / "run"
    shutil.copytree(whole, path)
    results = path / "results.json"
    results.write_text(results.read_text().replace('"finished"', '"interrupted"'))
    return path


def edit(file: Path, change: Change) -> None:
    state = torch.load(file, weights_only=True)
    change(state)
    torch.save(state, file)


def put(value: Any, *keys: Any) -> Change:
    """Sets a nested value."""

    def change(state: dict[str, Any]) -> None:
        node = state
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value

    return change


def test_unedited_files_are_accepted(run: Path) -> None:
    evaluate.evaluate_run(saved_run.load(run))
    assert train.resume_run(saved_run.load(run)).status == "finished"


@pytest.mark.parametrize(
    "key",
    ["run_metadata", "data", "task", "position", "history", "best", "random", "param_groups", "running_totals"],
)
def test_a_state_without_one_of_its_parts(run: Path, key: str) -> None:
    edit(run / LAST, lambda state: state.pop(key))
    with pytest.raises(ConfigError, match=rf"last\.pt: .*\b{key}\b"):
        train.resume_run(saved_run.load(run))


LASTS: dict[str, Change] = {
    "format_version": put(torch.zeros(0), "format_version"),
    "format": put(2, "format"),
    "run_metadata.threads": put(-3, "run_metadata", "threads"),
    "run_metadata.config.model.hidden": put(torch.ones(3), "run_metadata", "config", "model", "hidden"),
    "position.step": put(5, "position", "step"),
    "position.epoch": put("2", "position", "epoch"),
    "running_totals.seconds": put([], "running_totals", "seconds"),
    "running_totals.sums": put((0.0,), "running_totals", "sums"),
    "history.1.train_loss": put("0.5", "history", 1, "train_loss"),
    "history": put(1, "history", 1, "epoch"),
    "history.0.step": lambda state: state["history"][0].pop("step"),
    "history.0.val_accuracy": lambda state: [row.pop("val_accuracy") for row in state["history"]],
    "best.score": put(2.0, "best", "score"),
    "best": put(9, "best", "epoch"),
    "param_groups.model.ema": put(None, "param_groups", "model", "ema"),
    "param_groups.model.lr": put(float("nan"), "param_groups", "model", "lr"),
    "param_groups.model.optimizer.averages.mean": put(
        torch.zeros(3), "param_groups", "model", "optimizer", "averages", "mean"
    ),
    "param_groups.model.schedule.num_bad_validations": put(
        -1, "param_groups", "model", "schedule", "num_bad_validations"
    ),
    "param_groups.other": put({}, "param_groups", "other"),
    "scaler": put({"scale": 1.0}, "scaler"),
    "random: python": put([3, [1, 2], None], "random", "python"),
    "random: torch": put(torch.zeros(5056, dtype=torch.uint8), "random", "torch"),
    "random: numpy": put(["MT19937", torch.zeros(624, dtype=torch.uint32), 700, 0, 0.0], "random", "numpy"),
    "extra": put(1, "extra"),
}


@pytest.mark.parametrize("key", LASTS)
def test_a_last_state_with_something_else_in_it(run: Path, key: str) -> None:
    edit(run / LAST, LASTS[key])
    with pytest.raises(ConfigError) as refused:
        train.resume_run(saved_run.load(run))
    assert f"{LAST}: {key}" in str(refused.value)
    assert len(refused.value.problems) < 9
    assert json.loads((run / "results.json").read_text())["status"] == "interrupted"


BESTS: dict[str, Change] = {
    "score": put("0.9", "score"),
    "run_metadata.identity": put(None, "run_metadata", "identity"),
    "data": put(None, "data"),
    "data.dataset_info.class_names": put(["b", "a"], "data", "dataset_info", "class_names"),
    "data.excerpts.test": put(None, "data", "excerpts", "test"),
    "data.fingerprint": put(5, "data", "fingerprint"),
    "data.fitted": put({}, "data", "fitted"),
    "task.progress": put(torch.zeros((), dtype=torch.float64), "task", "progress"),
}


@pytest.mark.parametrize("key", BESTS)
def test_best_weights_with_extra_entries(run: Path, key: str) -> None:
    edit(run / BEST, BESTS[key])
    for use in (evaluate.evaluate_run, inspection.summarize_layers, train.resume_run):
        with pytest.raises(ConfigError) as refused:
            use(saved_run.load(run))
        assert f"{BEST}: {key}" in str(refused.value)


def test_what_was_learned_of_the_data_in_another_order(tmp_path: Path) -> None:
    """It has the right types, and would be read without a word."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat. " * 60)
    words = [
        "model=char_lstm",
        "data=text_file",
        f"data.path={tmp_path}/text.txt",
        "data.seq_len=8",
        "model.hidden_size=4",
        "max_steps=2",
    ]
    path = tmp_path / "run"
    trainer.run(trainer.compose([*words, "threads=1", "draw=false", f"hydra.run.dir={path}"]))

    def turn(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turn(item) for key, item in value.items()}
        if isinstance(value, list):
            return value[::-1]
        return value[::-1] if isinstance(value, str) and len(value) > 5 else value

    def change(state: dict[str, Any]) -> None:
        state["data"]["fitted"]["tokenizer"] = turn(state["data"]["fitted"]["tokenizer"])

    edit(path / BEST, change)
    with pytest.raises(ConfigError, match=r"best\.pt: data\.fitted\.tokenizer is not what the run saved"):
        list(sample.sample_run(saved_run.load(path), {}))


def test_a_file_of_another_run(run: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    trainer.run(trainer.compose([*WORDS, "scheduler=plateau", "seed=1", f"hydra.run.dir={other}"]))
    for name in (BEST, LAST):
        kept = (run / name).read_bytes()
        shutil.copy(other / name, run / name)
        with pytest.raises(ConfigError, match="belongs to another run"):
            train.resume_run(saved_run.load(run))
        (run / name).write_bytes(kept)
