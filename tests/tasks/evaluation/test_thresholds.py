"""Decision thresholds against scikit-learn's scores at every possible threshold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics

from trainer.tasks.evaluation.thresholds import choose_threshold

COSTS = [1.0, 7.5]


def negative_cost(truth: np.ndarray, guess: np.ndarray) -> float:
    return -(COSTS[0] * (guess > truth).sum() + COSTS[1] * (guess < truth).sum()) / len(truth)


CRITERIA: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "f1": lambda truth, guess: metrics.f1_score(truth, guess, zero_division=0),
    "balanced_accuracy": metrics.balanced_accuracy_score,
    "cost": negative_cost,
}


@pytest.mark.parametrize("criterion", CRITERIA)
@given(st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=2, max_size=12))
@settings(deadline=None, max_examples=15)
def test_no_threshold_is_better(criterion: str, rows: list[tuple[int, bool]]) -> None:
    """Ties included: rows with the same probability are predicted alike."""
    rows = [*rows, (3, True), (3, False)]
    probability, truth = np.array([p / 8 for p, _ in rows]), np.array([int(y) for _, y in rows])
    score = CRITERIA[criterion]
    chosen = choose_threshold(torch.tensor(probability), torch.tensor(truth == 1), criterion, COSTS)
    best = max(score(truth, (probability >= bound).astype(int)) for bound in (np.arange(10) - 0.5) / 8)
    certain = probability.max() == 1  # a threshold above 1, which predicts no row, is not chosen
    if not (certain and criterion == "cost"):
        assert score(truth, (probability >= chosen).astype(int)) == pytest.approx(best)


def test_threshold_lies_between_two_rows_and_nearest_to_a_half() -> None:
    probability = torch.tensor([0.1, 0.2, 0.6, 0.9], dtype=torch.float64)
    positive = torch.tensor([False, True, True, True])
    assert choose_threshold(probability, positive, "f1") == pytest.approx(0.15)
    # Both 0.4 and 0.75 have a balanced accuracy of 0.75 for these rows.
    positive = torch.tensor([False, False, True, False])
    assert choose_threshold(probability, positive, "balanced_accuracy") == pytest.approx(0.4)


def test_costs_move_the_threshold() -> None:
    generator = torch.Generator().manual_seed(0)
    probability = torch.rand(4000, generator=generator, dtype=torch.float64)
    positive = torch.rand(4000, generator=generator, dtype=torch.float64) < probability
    found = [choose_threshold(probability, positive, "cost", [1.0, cost]) for cost in (0.25, 1.0, 4.0)]
    assert found == pytest.approx([0.8, 0.5, 0.2], abs=0.08), "Bayes: cost ratio 1 / (1 + cost)"
