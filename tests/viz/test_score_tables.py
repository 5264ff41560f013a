"""Tables, comparisons and explanations of scores."""

from __future__ import annotations

import io
import math

import pytest

from trainer.runs.results import Result
from trainer.viz.console import PlainConsole
from trainer.viz.score_tables import (
    build_score_table,
    explain_better_than_best,
    format_number,
    format_score_comparison,
)


def make_result(**changes: dict[str, float]) -> Result:
    result = Result("x", "i", "finished", {}, [], "mlp", "moons", "classification", 0)
    result.test, result.baseline = {"accuracy": 0.8985, "nll": 0.3, "f1": 0.89}, {"accuracy": 0.5}
    result.best_possible = {"accuracy": 0.8945, "nll": 0.2}
    for name, scores in changes.items():
        setattr(result, name, scores)
    return result


def render_table(result: Result, width: int) -> str:
    file = io.StringIO()
    PlainConsole(file=file, width=width).print(build_score_table(result))
    return file.getvalue()


def test_score_above_best_possible_is_explained_by_test_size() -> None:
    explanation = explain_better_than_best(make_result(), "accuracy", 2000)
    assert explanation is not None
    assert "is the Bayes-optimal score, an average over test sets" in explanation
    # .8945 +- 1.96 sqrt(.8945 * .1055 / 2000)
    assert "on 2,000 rows its 95 % interval is 0.881 to 0.908, and 0.8985 is inside it" in explanation


def test_a_score_far_above_the_bound_is_not_explained_by_chance() -> None:
    explanation = explain_better_than_best(make_result(test={"accuracy": 0.99}), "accuracy", 2000)
    assert explanation is not None
    assert "is above it: look for training rows among the test rows" in explanation


def test_a_loss_below_the_best_possible_is_explained_without_an_interval() -> None:
    explanation = explain_better_than_best(make_result(test={"nll": 0.1}), "nll", 300)
    assert explanation is not None
    assert "300 rows" in explanation
    assert "95 %" not in explanation


@pytest.mark.parametrize("name", ["nll", "f1"])
def test_score_not_above_best_possible_has_no_explanation(name: str) -> None:
    assert explain_better_than_best(make_result(), name, 2000) is None


def test_score_comparison_has_baseline_and_best_possible() -> None:
    assert format_score_comparison(make_result(), "accuracy") == "baseline 0.5000 | model 0.8985 | best possible 0.8945"


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_score_table_fits_the_width_and_labels_f1(width: int) -> None:
    text = render_table(make_result(), width)
    assert max(map(len, text.splitlines())) <= width
    assert "(macro)" in text
    assert "0.8985" in text


def test_a_column_without_numbers_is_dropped() -> None:
    assert "best possible" not in render_table(make_result(best_possible={}), 80)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.0, "0.0000"), (0.00012345, "0.000123"), (0.98765, "0.9877"), (-12.5, "-12.5000"), (3162.277, "3162")),
        *((-71234.5, "-71234"), (2.5e7, "2.5e+07"), (math.nan, "nan"), (1200, "1200")),
    ],
)
def test_numbers_have_enough_digits_to_be_told_apart(value: float, text: str) -> None:
    assert format_number(value) == text
