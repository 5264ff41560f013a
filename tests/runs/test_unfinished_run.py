"""Test scores of a run that is not finished."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL
from trainer.config import compose
from trainer.inference import evaluate
from trainer.runs import saved_run, train
from trainer.runs.unfinished_run import score_best_weights
from trainer.utils.errors import Paused

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("in_tmp")]


def test_scores_are_those_of_an_evaluation_and_the_run_goes_on_as_before() -> None:
    config = compose.compose([*SMALL, "draw=false", "epochs=4", "hydra.run.dir=outputs/run"])
    path = Path("outputs/run")
    with pytest.raises(Paused):
        train.run(replace(config, pause_step=6))
    before = {file.name: file.read_bytes() for file in path.iterdir() if file.suffix in (".pt", ".json", ".csv")}
    assert json.loads(before["results.json"])["status"] == "paused"
    scores = score_best_weights(config, path)
    assert before == {name: (path / name).read_bytes() for name in before}
    assert scores == evaluate.evaluate_run(saved_run.load(path))
    whole = train.run(compose.compose([*SMALL, "draw=false", "epochs=4", "hydra.run.dir=outputs/whole"]))
    continued = train.resume_run(saved_run.load(path))
    assert (continued.status, continued.val, continued.test) == ("finished", whole.val, whole.test)


def test_run_without_a_validation_has_no_scores() -> None:
    config = compose.compose([*SMALL, "hydra.run.dir=outputs/run"])
    Path("outputs/run").mkdir(parents=True)
    assert score_best_weights(config, Path("outputs/run")) == {}
