"""What the terminal and the page of a search say about scores of runs that have not ended."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from trainer.config import compose
from trainer.search import search_console
from trainer.search.options import make_options
from trainer.search.rungs import RunLength, plan_pauses
from trainer.search.search_console import describe_steps, explain_scores
from trainer.search.trial import RunRecord, Trial
from trainer.viz.progress_bar import format_duration


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


def make_search(lengths: list[int], num_started: int = 0, replicates: tuple[Trial, ...] = ()) -> Any:
    """Return what is printed of a search whose runs are all at their ends."""
    known = [RunLength(steps, 10, 1) for steps in lengths]
    trials = [
        Trial(number, {}, {}, None, Path(str(number)), length, pauses)
        for number, (length, pauses) in enumerate(zip(known, plan_pauses(known), strict=True))
    ]
    for trial in trials:
        set_finished(trial)
    return SimpleNamespace(
        options=make_options(search="asha", budget=f"{len(lengths)}runs"),
        factory=SimpleNamespace(trials=trials),
        pool=SimpleNamespace(at_a_time=1, num_started=num_started),
        clock=SimpleNamespace(seconds=100.0, limit=None),
        list_runs=lambda: [*trials, *replicates],
    )


def set_finished(trial: Trial) -> None:
    results = {"status": "finished", "monitor": "loss", "seconds": 1.0}
    trial.__dict__["record"] = RunRecord(results, [{"step": trial.length.steps, "val_loss": 1.0}])


@pytest.mark.parametrize(
    ("lengths", "text"),
    [
        ([1600] * 64, "at most 25,600 with further seeds, 25% of the 102,400 that all runs take to their ends"),
        ([800, 2400] * 32, "with further seeds if the longest runs continue, 31% of the 102,400 that all"),
    ],
)
def test_the_most_steps_are_told_before_a_search(lengths: list[int], text: str) -> None:
    assert text in describe_steps(make_search(lengths))


def test_further_seeds_that_are_finished_are_no_time_left(capsys: pytest.CaptureFixture[str]) -> None:
    """Of four further seeds of a resumed search, three were finished: 1 of 12 starts and 160 of 960 steps are left."""
    template = make_search([160]).factory.trials[0]
    replicates = tuple(Trial(0, {}, {}, None, Path(f"seed={seed}"), template.length) for seed in range(4))
    for trial in replicates[:3]:
        set_finished(trial)
    replicates[3].__dict__["record"] = RunRecord({}, [])
    search = make_search([160] * 2, num_started=1, replicates=replicates)
    search_console.print_progress(search, replicates[3:], 0)
    start, step = (100.0 - 5.0) / 11, 5.0 / 800
    left = format_duration(start + 160 * step)
    assert capsys.readouterr().out == f"further seeds  0 of 1 run  1:40  about {left} left\n"


def test_before_a_resumed_search_starts_a_run_no_time_left_is_claimed(capsys: pytest.CaptureFixture[str]) -> None:
    search = make_search([160] * 2)
    search_console.print_progress(search, search.factory.trials, 1)
    assert "left" not in capsys.readouterr().out
