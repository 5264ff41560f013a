"""Runs with configurations of version 3 and checkpoints of version 5 load, resume and evaluate as before.

The runs of ``train_checkpoint_5`` were made before keys of results and of the TensorBoard logger were renamed: one run
finished, and the same one stopped by SIGTERM between two validations.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.finished_runs import read_leaderboard
from tests.helpers.stored_runs import assert_equal, copy_runs, read_metrics
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.inference import evaluate
from trainer.runs import saved_run, train
from trainer.runs.results import Result

SAVED = Path(__file__).with_name("train_checkpoint_5")
EXPECTED: dict[str, Any] = json.loads((SAVED / "stopped" / "expected_scores.json").read_text())


@pytest.fixture(autouse=True)
def _copy_of_the_saved_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(SAVED, tmp_path, monkeypatch)


def list_setting(path: Path) -> list[str]:
    """Return the overrides of a run without its directory, its loggers and its seed."""
    return [word for word in saved_run.load(path).overrides if not word.startswith(("hydra.", "logger", "seed="))]


@pytest.mark.slow
def test_resumed_run_equals_uninterrupted_run() -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train.resume_run(saved_run.load(Path("stopped")))
    found, expected = (read_metrics(Path("stopped", file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, expected_row in zip(found, expected, strict=True):
        assert_equal(row, expected_row)
    results = json.loads(Path("stopped", "results.json").read_text())
    assert "logger.tensorboard.log_dir=boards" in results["overrides"]
    assert (results["run_dir"], results["working_dir"]) == ("stopped", "/tmp/checkpoint_5")
    assert not {"folder", "home"} & results.keys()
    state = checkpoint.load_checkpoint(Path("stopped", checkpoint.LAST))
    assert (state["format_version"], state["run_metadata"]["working_dir"]) == (
        checkpoint.FORMAT_VERSION,
        "/tmp/checkpoint_5",
    )
    for split in ("val", "test"):
        assert_equal(results[split], EXPECTED[split])
    events = accumulators.EventAccumulator("boards/stopped", size_guidance={"scalars": 0}).Reload()
    assert [event.step for event in events.Scalars("val/accuracy")] == [5, 10, 15, 20, 25, 30]


@pytest.mark.parametrize("lost", [(), ("config.yaml",), ("config.yaml", "results.json")])
@pytest.mark.parametrize("name", ["stopped", "finished"])
def test_keys_are_renamed_and_the_identity_is_kept(name: str, lost: tuple[str, ...]) -> None:
    saved_results = json.loads(Path(name, "results.json").read_text())
    for file in lost:
        Path(name, file).unlink()
    result = Result.read(Path(name))
    assert (result.run_dir, result.working_dir) == (name, "/tmp/checkpoint_5")
    saved = saved_run.load(Path(name))
    assert saved.working_dir == result.working_dir
    for logger in (saved.tree["logger"]["tensorboard"], saved.raw["logger"]["tensorboard"]):
        assert list(logger) == ["_target_", "log_dir"]
        assert logger["log_dir"] == "boards"
    assert saved.compute_config_hash(saved_results["data_digest"]) == result.identity == saved_results["identity"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["stopped", "finished"])
def test_resume_auto_finds_the_run(name: str) -> None:
    identity = json.loads(Path(name, "results.json").read_text())["identity"]
    shutil.move(name, f"outputs/{name}")
    overrides = list_setting(Path("outputs", name))
    result = train.run(compose.compose([*overrides, "seed=0", "resume=auto", "hydra.run.dir=outputs/other"]))
    assert (result.run_dir, result.status, result.identity) == (f"outputs/{name}", "finished", identity)


@pytest.mark.slow
def test_completed_run_has_the_current_keys_and_is_read_again() -> None:
    file = Path("finished", "results.json")
    saved_results = json.loads(file.read_text())
    file.write_text(json.dumps(saved_results | {"artifacts": None}))
    result = train.resume_run(saved_run.load(Path("finished")))
    results = json.loads(file.read_text())
    renamed = {"folder": "run_dir", "home": "working_dir"}
    assert results == {renamed.get(key, key): value for key, value in saved_results.items()} | {"decisions": {}}
    assert Result.read(Path("finished")) == result


@pytest.mark.slow
def test_leaderboard_ranks_the_run_with_a_new_one_of_the_same_setting() -> None:
    overrides = list_setting(Path("finished"))
    train.run(compose.compose([*overrides, "seed=1", "hydra.run.dir=new"]))
    train.run(compose.compose([*overrides, "model.hidden=[4]", "hydra.run.dir=other"]))
    entries = {entry.runs: entry for entry in read_leaderboard(Path())}
    assert set(entries) == {1, 2}
    scores = [Result.read(Path(name)).test["accuracy"] for name in ("finished", "new")]
    assert entries[2].test == pytest.approx(sum(scores) / 2)


@pytest.mark.parametrize(("name", "split"), [("stopped", "stopped"), ("finished", "test")])
def test_best_weights_have_their_scores(name: str, split: str) -> None:
    assert_equal(evaluate.evaluate_run(saved_run.load(Path(name))), EXPECTED[split])
