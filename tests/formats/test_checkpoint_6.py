"""Runs with configurations of version 4 and checkpoints of version 6, before tasks had decisions, are used as before.

The runs of ``train_checkpoint_6`` are a classification stopped by SIGTERM between two validations, and a finished
regression.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.finished_runs import read_leaderboard
from tests.helpers.stored_runs import assert_equal, copy_runs, read_metrics
from trainer.config import compose, introspection, migrations
from trainer.engine import checkpoint
from trainer.inference import evaluate
from trainer.runs import saved_run, train
from trainer.runs.results import Result

SAVED = Path(__file__).with_name("train_checkpoint_6")
EXPECTED: dict[str, Any] = json.loads((SAVED / "stopped" / "expected_scores.json").read_text())


@pytest.fixture(autouse=True)
def _copy_of_the_saved_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(SAVED, tmp_path, monkeypatch)


def list_setting(path: Path) -> list[str]:
    """Return the overrides of a run without its directory and its seed."""
    return [word for word in saved_run.load(path).overrides if not word.startswith(("hydra.", "seed="))]


@pytest.mark.slow
def test_resumed_run_equals_uninterrupted_run() -> None:
    result = train.resume_run(saved_run.load(Path("stopped")))
    found, expected = (read_metrics(Path("stopped", file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, expected_row in zip(found, expected, strict=True):
        assert_equal(row, expected_row)
    assert result.decisions == {}
    for scores, split in ((result.val, "val"), (result.test, "test")):
        assert_equal(scores, EXPECTED[split])
    best = checkpoint.load_checkpoint(Path("stopped", checkpoint.BEST))
    assert (best["format_version"], best["decisions"]) == (checkpoint.FORMAT_VERSION, {})


@pytest.mark.parametrize("name", ["stopped", "finished"])
def test_added_keys_have_neutral_values_and_the_identity_is_kept(name: str) -> None:
    saved = saved_run.load(Path(name))
    added = migrations.find_added_keys(saved.tree["task"])
    assert added
    for tree in (saved.tree, saved.raw):
        assert {key: tree["task"][key] for key in added} == added
    digest = json.loads(Path(name, "results.json").read_text())["data_digest"]
    assert saved.compute_config_hash(digest) == Result.read(Path(name)).identity
    key, value = ("class_weights", [1.0, 2.0]) if name == "stopped" else ("coverage", 0.9)
    decided = compose.compose([*list_setting(Path(name)), "seed=0", f"task.{key}={value}"])
    assert decided.compute_config_hash(digest) != Result.read(Path(name)).identity


def test_added_keys_are_keys_of_their_classes() -> None:
    for path, keys in migrations.ADDED_KEYS.items():
        signature = introspection.read_signature(f"trainer.{path}")
        assert signature
        assert keys.keys() <= signature.init_types.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stopped", "finished"])
def test_resume_auto_finds_the_run(name: str) -> None:
    identity = json.loads(Path(name, "results.json").read_text())["identity"]
    shutil.move(name, f"outputs/{name}")
    overrides = list_setting(Path("outputs", name))
    result = train.run(compose.compose([*overrides, "seed=0", "resume=auto", "hydra.run.dir=outputs/other"]))
    assert (result.run_dir, result.status, result.identity) == (f"outputs/{name}", "finished", identity)


@pytest.mark.slow
def test_leaderboard_ranks_the_run_with_a_new_one_of_the_same_setting() -> None:
    overrides = list_setting(Path("finished"))
    train.run(compose.compose([*overrides, "seed=1", "hydra.run.dir=new"]))
    train.run(compose.compose([*overrides, "seed=1", "task.coverage=0.5", "hydra.run.dir=other"]))
    entries = {entry.runs: entry for entry in read_leaderboard(Path())}
    assert set(entries) == {1, 2}
    scores = [Result.read(Path(name)).test["mse"] for name in ("finished", "new")]
    assert entries[2].test == pytest.approx(sum(scores) / 2)


def test_best_weights_have_their_scores() -> None:
    assert_equal(evaluate.evaluate_run(saved_run.load(Path("stopped"))), EXPECTED["stopped"])
    assert_equal(evaluate.evaluate_run(saved_run.load(Path("finished"))), Result.read(Path("finished")).test)
