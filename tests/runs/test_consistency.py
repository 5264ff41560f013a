"""The files of a run vouch for each other, and a run is used where and with what there is."""

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
from trainer.config.compose import drop_runtime_keys
from trainer.core import rng
from trainer.runs import consistency, evaluate, saved_run
from trainer.runs.results import Result
from trainer.utils.errors import ConfigError

pytestmark = pytest.mark.usefixtures("in_tmp")


@pytest.mark.skipif(torch.cuda.is_available(), reason="a device that this machine has is taken")
def test_a_run_of_a_device_that_is_not_here_is_used_on_another(caplog: pytest.LogCaptureFixture) -> None:
    path = train_run("csv")
    file = path / "config.yaml"
    file.write_text(file.read_text().replace("device: auto", "device: cuda:3"))
    assert evaluate_scores(path) == Result.read(path).test
    assert "device=cuda:3: this torch" in caplog.text
    assert "using cpu" in caplog.text


def test_random_numbers_saved_on_one_kind_of_device_are_restored_on_another(monkeypatch: pytest.MonkeyPatch) -> None:
    seeded: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed", seeded.append)
    torch.manual_seed(7)
    rng.set_rng_state(rng.get_rng_state(torch.device("cpu")), torch.device("cuda"))
    assert seeded == [7]


@pytest.mark.parametrize(
    ("name", "before", "after", "said"),
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
def test_edited_values_are_refused_with_file_and_key(name: str, before: str, after: str, said: str) -> None:
    file = train_run("csv", "optimizer.lr=0.003") / name
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after))
    with pytest.raises(ConfigError, match=said):
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


def test_a_lost_configuration_is_read_from_the_checkpoint() -> None:
    path = train_run("csv")
    (path / "config.yaml").unlink()
    assert evaluate_scores(path) == Result.read(path).test


def test_the_folder_of_data_sets_is_another_here(tmp_path: Path) -> None:
    """Also where a group repeats the flat key."""
    path = train_run("csv")
    kept, _ = saved_run.load_from_args("evaluate", [str(path), f"data_dir={tmp_path}"])
    repeated = saved_run.with_verb_overrides(
        replace(kept, tree=kept.tree | {"data": {**kept.tree["data"], "data_dir": str(tmp_path)}}),
        ["data_dir=elsewhere"],
    )
    assert (kept.tree["data_dir"], repeated.tree["data"]["data_dir"]) == (str(tmp_path), "elsewhere")


def edited(change: Callable[[dict[str, Any]], object]) -> Path:
    """A run in whose results something was changed."""
    file = train_run("csv") / "results.json"
    found = json.loads(file.read_text())
    change(found)
    file.write_text(json.dumps(found))
    return file


def test_a_score_that_does_not_match_the_weights_is_reported(caplog: pytest.LogCaptureFixture) -> None:
    file = edited(lambda found: found["test"].update(accuracy=0.99))
    measured = evaluate_scores(file.parent)["accuracy"]
    assert f"{file}: test.accuracy is 0.9900, not {measured:.4f}, the score of these weights" in caplog.text
    caplog.clear()
    evaluate_scores(file.parent, "allow_changed_data=true")
    assert "test.accuracy" not in caplog.text, "the test rows may be others"


@pytest.mark.parametrize(
    ("device", "share", "is_told"),
    mark_slow_after(2, [("cpu", 1.005, False), ("cpu", 1.03, True), ("cuda:0", 1.03, False)]),
)
def test_another_device_may_score_a_little_otherwise(
    device: str, share: float, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    def move(found: dict[str, Any]) -> None:
        found["device"] = device
        found["test"]["nll"] *= share

    evaluate_scores(edited(move).parent, "device=cpu")
    assert ("test.nll" in caplog.text) is is_told


def test_a_score_that_was_no_number_is_the_same_when_it_is_none_again() -> None:
    assert evaluate._is_close(math.nan, math.nan, 0.01)
    assert not evaluate._is_close(math.nan, 0.5, 0.01)
