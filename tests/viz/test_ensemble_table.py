"""Table and sentences about the scores of an ensemble."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from trainer.viz.ensemble_table import build_ensemble_table, describe_ensemble, describe_member

RESULT: Any = SimpleNamespace(
    test={"accuracy": 0.9, "nll": 0.2}, baseline={"accuracy": 0.5}, best_possible={}, higher_is_better={}
)


def make_members(gain: float) -> dict[str, dict[str, float]]:
    diversity = {"disagreement": 0.125}
    return {
        "mean": {"accuracy": 0.9 - gain},
        "best": {"accuracy": 0.95},
        "gain": {"accuracy": gain},
        "diversity": diversity,
    }


@pytest.mark.parametrize(
    ("width", "cells"),
    [(40, ["0.8000", "0.9000", "0.1000"]), (120, ["0.5000", "0.8000", "0.9500", "0.9000", "0.1000"])],
)
def test_each_score_is_beside_those_of_the_members(width: int, cells: list[str]) -> None:
    console = Console(width=width, record=True, force_terminal=False)
    with console.capture() as capture:
        console.print(build_ensemble_table(RESULT, make_members(0.1), width))
    (row,) = (line for line in capture.get().splitlines() if line.startswith("accuracy"))
    assert row.split()[1:] == cells
    assert all(len(line.rstrip()) <= width for line in capture.get().splitlines())


@pytest.mark.parametrize(
    ("gain", "text"), [(0.1, "0.1000 better than"), (-0.1, "0.1000 worse than"), (0.0, "no different than")]
)
def test_gain_and_diversity_are_sentences(gain: float, text: str) -> None:
    first, second = describe_ensemble(RESULT.test, make_members(gain), "accuracy", 3)
    assert first.startswith("ensemble of 3: ")
    assert text in first
    assert second == "two members predict different classes for 12.5% of the test targets"


def test_one_member_has_no_diversity() -> None:
    assert len(list(describe_ensemble(RESULT.test, make_members(0.0), "accuracy", 1))) == 1
    assert not list(describe_ensemble(RESULT.test, make_members(0.0), "nll", 1))


def test_a_member_is_described_by_seed_epoch_and_score() -> None:
    member: Any = SimpleNamespace(**vars(RESULT), seed=7, epochs=5, best_epoch=3)
    assert describe_member("members/1", member, "accuracy") == "members/1, seed 7, epoch 3 of 5: accuracy 0.9000"
    untrained: Any = SimpleNamespace(**vars(RESULT), seed=7, epochs=0, best_epoch=None)
    assert describe_member("members/1", untrained, "other") == "members/1, seed 7"
