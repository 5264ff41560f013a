"""Checkpoints of version 4, whose keys have other names, load, resume and evaluate as before.

The runs of ``train_checkpoint_4`` were made before the renaming: stopped by SIGTERM between two validations, with the
metrics and scores of the same run without the stop, and the test scores of the weights that were the best at the stop.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.stored_runs import assert_equal, copy_runs, read_metrics
from trainer.config import compose
from trainer.engine import checkpoint
from trainer.runs import evaluate, sample, saved_run, train

SAVED = Path(__file__).with_name("train_checkpoint_4")
RUNS = sorted(path.name for path in SAVED.iterdir() if path.is_dir())


@pytest.fixture(autouse=True)
def _copy_of_the_saved_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_runs(SAVED, tmp_path, monkeypatch)


def read_expected(name: str) -> dict[str, Any]:
    return json.loads(Path(name, "expected_scores.json").read_text())


@pytest.mark.parametrize("name", RUNS)
def test_resumed_run_equals_uninterrupted_run(name: str) -> None:
    train.resume_run(saved_run.load(Path(name)))
    found, expected = (read_metrics(Path(name, file)) for file in ("metrics.csv", "expected_metrics.csv"))
    assert len(found) == len(expected)
    for row, expected_row in zip(found, expected, strict=True):
        assert_equal(row, expected_row)
    results, scores = json.loads(Path(name, "results.json").read_text()), read_expected(name)
    for split in ("val", "test"):
        assert_equal(results[split], scores[split])
    assert_equal(evaluate.evaluate_run(saved_run.load(Path(name))), scores["test"])
    state = checkpoint.load_checkpoint(Path(name, checkpoint.LAST))
    assert state["format_version"] == checkpoint.FORMAT_VERSION


@pytest.mark.parametrize("name", RUNS)
def test_best_weights_of_stopped_run_have_their_scores(name: str) -> None:
    assert_equal(evaluate.evaluate_run(saved_run.load(Path(name))), read_expected(name)["stopped"])


def test_samples_are_decoded_by_the_saved_tokenizers() -> None:
    Path("source.txt").unlink()  # the first rows of each split are in the checkpoint
    text = "".join(sample.sample_run(saved_run.load(Path("pairs_seq2seq")), {}))
    assert text == read_expected("pairs_seq2seq")["sample"]


@pytest.mark.parametrize("name", RUNS)
def test_resume_auto_finds_the_run(name: str) -> None:
    shutil.move(name, f"outputs/{name}")
    overrides = [word for word in saved_run.load(Path("outputs", name)).overrides if not word.startswith("hydra.")]
    result = train.run(compose.compose([*overrides, "resume=auto", "hydra.run.dir=outputs/other"]))
    assert (result.folder, result.status) == (f"outputs/{name}", "finished")
