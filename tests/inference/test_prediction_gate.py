"""The gate of predictions: one of its cases, and what it must find."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd
import pytest

from tests.gates.predictions import COUNT_TOLERANCE, MAX_CHANGE, compare_scores, find_difference, has_passed, run_case
from tests.helpers.prediction_cases import CASES

ROWS = pd.DataFrame({"row": [1, 2], "label": ["a", "b"], "p_a": [0.75, 0.25]})


@pytest.mark.slow
def test_decided_classes_of_a_table_pass(tmp_path: Path) -> None:
    case = CASES["csv_decisions"]
    outcome = run_case(case, tmp_path)
    assert has_passed(outcome, case)
    assert {"accuracy", "ece", "coverage"} <= outcome.counts.keys()
    assert not has_passed(outcome._replace(counts=outcome.counts | {"f1": 1e-9}), case)
    assert not has_passed(outcome._replace(changes=outcome.changes | {"moved": 1e-5}), case)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"row": [2, 1]}, 0.0),
        ({"p_a": [0.75, 0.25 + 1e-4]}, 1e-4),
        ({"label": ["a", "c"]}, math.inf),
        ({"p_a": [0.75, math.nan]}, math.inf),
        ({"p_b": [0.25, 0.75]}, math.inf),
    ],
)
def test_changed_predictions_are_found(change: dict[str, list[object]], expected: float) -> None:
    assert find_difference(ROWS, ROWS.assign(**change)) == pytest.approx(expected)
    assert (expected > MAX_CHANGE) == (expected > 0)


def test_scores_are_compared_by_name() -> None:
    counts, sums = compare_scores({"accuracy": 0.5, "nll": 1.0, "f1": 0.1}, {"accuracy": 0.51, "nll": 1.0})
    assert counts.keys() == {"accuracy"}
    assert counts["accuracy"] > COUNT_TOLERANCE
    assert sums == {"nll": 0.0}
