"""What scores say of themselves."""

from __future__ import annotations

import io

import pytest

from trainer.runs.results import Result
from trainer.viz.console import PlainConsole
from trainer.viz.score_tables import build_score_table, explain_better_than_best, format_score_comparison


def result(**changes: dict[str, float]) -> Result:
    made = Result("x", "i", "finished", {}, [], "mlp", "moons", "classification", 0)
    made.test, made.baseline = {"accuracy": 0.8985, "nll": 0.3, "f1": 0.89}, {"accuracy": 0.5}
    made.best_possible = {"accuracy": 0.8945, "nll": 0.2}
    for name, scores in changes.items():
        setattr(made, name, scores)
    return made


def shown(made: Result, width: int) -> str:
    file = io.StringIO()
    PlainConsole(file=file, width=width).print(build_score_table(made))
    return file.getvalue()


def test_a_score_above_the_best_possible_is_explained_by_the_size_of_the_test_set() -> None:
    note = explain_better_than_best(result(), "accuracy", 2000)
    assert note is not None
    assert "mean over many test sets" in note
    assert "0.881 to 0.908 (95 %), and 0.8985 lies within that" in note  # .8945 +- 1.96 sqrt(.8945 * .1055 / 2000)


def test_a_score_far_above_the_bound_is_not_explained_by_chance() -> None:
    note = explain_better_than_best(result(test={"accuracy": 0.99}), "accuracy", 2000)
    assert note is not None
    assert "lies beyond that" in note


def test_a_loss_below_the_best_possible_is_explained_without_an_interval() -> None:
    note = explain_better_than_best(result(test={"nll": 0.1}), "nll", 300)
    assert note is not None
    assert "300 rows" in note
    assert "95 %" not in note


@pytest.mark.parametrize("name", ["nll", "f1"])
def test_nothing_is_said_of_one_that_is_not_better_or_has_no_best(name: str) -> None:
    assert explain_better_than_best(result(), name, 2000) is None


def test_the_context_of_a_score() -> None:
    assert format_score_comparison(result(), "accuracy") == "baseline 0.5000 | model 0.8985 | best possible 0.8945"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_of_scores_fits_and_says_what_f1_is(width: int) -> None:
    text = shown(result(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "(macro)" in text
    assert "0.8985" in text


def test_a_column_without_numbers_is_dropped() -> None:
    assert "best possible" not in shown(result(best_possible={}), 80)
