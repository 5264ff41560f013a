"""What the terminal and the page of a search say about scores of runs that have not ended."""

from __future__ import annotations

from pathlib import Path

import pytest

from trainer.config import compose
from trainer.search.rungs import RunLength
from trainer.search.search_console import explain_scores
from trainer.search.trial import Trial


def make_trial(*overrides: str, pauses: tuple[int, ...] = (10, 40)) -> Trial:
    config = compose.compose(["model=mlp", "data=moons", *overrides])
    return Trial(0, {}, {}, config, Path(), RunLength(160, 10, 1), pauses)


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["scheduler=cosine"], "has not fallen as far as it will"),
        (["scheduler=schedule_free"], "the learning rate does not depend on the length"),
        (["scheduler=none"], "the learning rate does not depend on the length"),
        (["scheduler=wsd"], "at the constant learning rate of the stable phase"),
        (["scheduler=wsd", "scheduler.decay=0.8"], "has not fallen as far as it will"),
    ],
)
def test_scores_before_the_end_are_explained_by_the_schedule(overrides: list[str], expected: str) -> None:
    assert expected in explain_scores([make_trial(*overrides), make_trial(*overrides, pauses=())])


def test_one_schedule_that_decays_decides_for_all() -> None:
    trials = [make_trial("scheduler=wsd"), make_trial("scheduler=cosine")]
    assert "has not fallen as far as it will" in explain_scores(trials)
