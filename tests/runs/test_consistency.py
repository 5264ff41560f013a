"""Agreement of the files of a run, and runs that are moved to another machine."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.marks import mark_slow_after
from tests.helpers.own_runs import evaluate_scores, train_run
from trainer.config.run_config import drop_runtime_keys
from trainer.core import rng
from trainer.inference import evaluate
from trainer.runs import consistency, run_overrides
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine may have the device")
def test_missing_device_falls_back_to_cpu(caplog: pytest.LogCaptureFixture) -> None:
    path = train_run("csv")
    file = path / "config.yaml"
    file.write_text(file.read_text().replace("device: auto", "device: cuda:3"))
    assert evaluate_scores(path) == Result.read(path).test
    assert "device=cuda:3: this torch" in caplog.text
    assert "using cpu" in caplog.text


def test_rng_state_saved_on_cpu_seeds_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    torch.manual_seed(7)
    rng.set_rng_state(rng.get_rng_state(torch.device("cpu")), torch.device("cuda"))
    assert seeded == [7]


@pytest.mark.parametrize(
    ("name", "before", "after", "message"),
    [
        ("config.yaml", "lr: 0.003", "lr: 0.03", r"config.yaml: optimizer.lr is 0.03; best.pt has 0.003"),
        ("config.yaml", "seed: 0", "seed: 1", r"config.yaml: .*seed is 1; best.pt has 0"),
        (
            "results.json",
            '"model": "mlp"',
            '"model": "gan"',
            r"results.json: options.model is 'gan'; best.pt has 'mlp'",
        ),
        (
            "results.json",
            '"model": "mlp",\n  "data"',
            '"model": "gan",\n  "data"',
            r"json: model is 'gan'; best.pt has 'mlp'",
        ),
        (
            "results.json",
            '"data": "csv",\n  "task"',
            '"data": "idx",\n  "task"',
            r"json: data is 'idx'; best.pt has 'csv'",
        ),
        ("results.json", '"seed": 0', '"seed": 7', r"results.json: seed is 7; best.pt has 0"),
    ],
)
def test_edited_values_are_refused_with_file_and_key(name: str, before: str, after: str, message: str) -> None:
    file = train_run("csv", "optimizer.lr=0.003") / name
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=message):
        evaluate_scores(file.parent)


def test_an_edited_option_named_like_a_runtime_key_is_reported() -> None:
    config = {"draw": True, "data_dir": "a", "data": {"data_dir": "a"}, "model": {"draw": 3}}
    moved = {"draw": False, "data_dir": "b", "data": {"data_dir": "b"}, "model": {"draw": 3}}
    edited = {**config, "model": {"draw": 2}}
    assert drop_runtime_keys(config) == drop_runtime_keys(moved) != drop_runtime_keys(edited)
    path = train_run("csv")
    file = path / "config.yaml"
    file.write_text(file.read_text().replace("activation:", "draw: 5\n  activation:"))
    with pytest.raises(ConfigError, match=r"config.yaml: model.draw is 5; best.pt has None"):
        consistency.load_best(path)


@pytest.mark.slow
def test_a_lost_configuration_is_read_from_the_checkpoint() -> None:
    path = train_run("csv")
    (path / "config.yaml").unlink()
    assert evaluate_scores(path) == Result.read(path).test


def test_data_dir_override_applies_to_a_saved_run(tmp_path: Path) -> None:
    """Also to a group that repeats the global key."""
    path = train_run("csv")
    saved, _ = run_overrides.load_from_args("evaluate", [str(path), f"data_dir={tmp_path}"])
    repeated = run_overrides.with_verb_overrides(
        replace(saved, tree=saved.tree | {"data": {**saved.tree["data"], "data_dir": str(tmp_path)}}),
        ["data_dir=elsewhere"],
    )
    assert (saved.tree["data_dir"], repeated.tree["data"]["data_dir"]) == (str(tmp_path), "elsewhere")


def edit_results(change: Callable[[dict[str, Any]], object]) -> Path:
    """Train a run and change its results; return the results file."""
    file = train_run("csv") / "results.json"
    results = json.loads(file.read_text())
    change(results)
    file.write_text(json.dumps(results))
    return file


def test_a_score_that_does_not_match_the_weights_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    file = edit_results(lambda results: results["test"].update(accuracy=0.99))
    measured = evaluate_scores(file.parent)["accuracy"]
    assert f"{file}: test.accuracy is 0.9900, not {measured:.4f}, the score of these weights" in caplog.text
    caplog.clear()
    evaluate_scores(file.parent, "allow_changed_data=true")
    assert "test.accuracy" not in caplog.text, "the test rows may differ"


@pytest.mark.parametrize(
    ("device", "factor", "is_reported"),
    mark_slow_after(2, [("cpu", 1.005, False), ("cpu", 1.03, True), ("cuda:0", 1.03, False)]),
)
def test_score_tolerance_is_larger_on_another_device(
    device: str, factor: float, is_reported: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def scale_nll(results: dict[str, Any]) -> None:
        results["device"] = device
        results["test"]["nll"] *= factor

    evaluate_scores(edit_results(scale_nll).parent, "device=cpu")
    assert ("test.nll" in caplog.text) is is_reported


def test_nan_score_is_close_to_nan_only() -> None:
    assert evaluate._is_close(math.nan, math.nan, 0.01)
    assert not evaluate._is_close(math.nan, 0.5, 0.01)
