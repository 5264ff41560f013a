"""Runs with configurations of version 3 and checkpoints of version 5 load, resume and evaluate as before.

The runs of ``train_checkpoint_5`` were made before keys of results and of the TensorBoard logger were renamed: one run
finished, and the same one stopped by SIGTERM between two validations.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.stored_runs import assert_equal, copy_runs, read_metrics
from trainer.runs import evaluate, saved_run, train

SAVED = Path(__file__).with_name("train_checkpoint_5")
EXPECTED: dict[str, Any] = json.loads((SAVED / "stopped" / "expected_scores.json").read_text())


@pytest.fixture(autouse=True)
def _copy_of_the_saved_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(SAVED, tmp_path, monkeypatch)


def test_resumed_run_equals_uninterrupted_run() -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    train.resume_run(saved_run.load(Path("stopped")))
    found, expected = (read_metrics(Path("stopped", file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, expected_row in zip(found, expected, strict=True):
        assert_equal(row, expected_row)
    results = json.loads(Path("stopped", "results.json").read_text())
    assert "logger.tensorboard.log_dir=boards" in results["overrides"]
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
    saved = saved_run.load(Path(name))
    for logger in (saved.tree["logger"]["tensorboard"], saved.raw["logger"]["tensorboard"]):
        assert list(logger) == ["_target_", "log_dir"]
        assert logger["log_dir"] == "boards"
    assert saved.compute_config_hash(saved_results["data_digest"]) == saved_results["identity"]


@pytest.mark.parametrize(("name", "split"), [("stopped", "stopped"), ("finished", "test")])
def test_best_weights_have_their_scores(name: str, split: str) -> None:
    assert_equal(evaluate.evaluate_run(saved_run.load(Path(name))), EXPECTED[split])
