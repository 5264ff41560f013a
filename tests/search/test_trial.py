"""What a run directory says about the run of a trial, when files are lost or damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from trainer.search import search_files
from trainer.search.rungs import RunLength
from trainer.search.successive_halving import SuccessiveHalving
from trainer.search.trial import Trial, read_record

RESULTS = {"status": "finished", "monitor": "loss", "steps": 8, "val": {"loss": 0.25}, "test": {"loss": 0.5}}
CSV = "epoch,step,val_loss\n1,2,0.75\n2,4,0.5\n4,8,0.25\n"


def make_trial(folder: Path, results: object, metrics: str = "", pauses: tuple[int, ...] = (2,)) -> Trial:
    (folder / "results.json").write_text(json.dumps(results))
    if metrics:
        (folder / "metrics.csv").write_text(metrics)
    return Trial(0, {}, {}, None, folder, RunLength(8, 2, 1), pauses)


def collect(trial: Trial, rung: int) -> None:
    SuccessiveHalving(None, 1, None, lambda *_: None).collect(trial, rung)  # type: ignore[arg-type]


def test_metrics_file_replaces_a_lost_checkpoint(tmp_path: Path) -> None:
    trial = make_trial(tmp_path, RESULTS, CSV)
    for rung in range(2):
        collect(trial, rung)
    assert (trial.scores, trial.reason) == ([0.75, 0.25], "")
    assert not trial.record.has_lost_history


def test_results_replace_a_lost_history_at_the_end_alone(tmp_path: Path) -> None:
    trial = make_trial(tmp_path, RESULTS, pauses=())
    collect(trial, 0)
    assert (trial.scores, trial.reason) == ([0.25], "")
    assert trial.record.has_lost_history


@pytest.mark.parametrize(
    "damage",
    [{"test": [1]}, {"steps": "many"}, {"higher_is_better": 1}, {"val": {"loss": "low"}}, {"monitor": ["loss"]}],
)
def test_damaged_results_are_no_results(damage: dict[str, object], tmp_path: Path) -> None:
    trial = make_trial(tmp_path, RESULTS | damage)
    collect(trial, 0)
    assert trial.scores == []
    assert (trial.record.status, trial.record.higher_is_better) == ("", None)
    assert search_files.describe_trial(trial)["test"] == {}


def test_rows_of_a_history_that_are_no_numbers_are_left_out(tmp_path: Path) -> None:
    make_trial(tmp_path, RESULTS, "epoch,step,val_loss\n1,2,0.75\n2,many,0.5\n")
    assert [row["step"] for row in read_record(tmp_path).history] == [2]
