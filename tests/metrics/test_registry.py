"""The direction of metrics, and a NaN that never wins."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.metrics.registry import HIGHER_IS_BETTER, LOWER_IS_BETTER, get_direction, is_better


def test_every_score_has_one_direction() -> None:
    assert not HIGHER_IS_BETTER & LOWER_IS_BETTER
    assert get_direction("accuracy") == get_direction("iou_cat") == get_direction("hits_10") == "max"
    assert get_direction("mse") == get_direction("nll") == "min"
    assert get_direction("lr") is None


@pytest.mark.parametrize(
    ("value", "than", "name", "expected"),
    [
        (0.5, None, "accuracy", True),
        (0.6, 0.5, "accuracy", True),
        (0.5, 0.5, "accuracy", False),
        (0.4, 0.5, "accuracy", False),
        (0.4, 0.5, "mse", True),
        (0.6, 0.5, "mse", False),
        (-1.0, None, "elbo", True),
        (0.0, -1.0, "elbo", True),
        (math.nan, None, "accuracy", False),
        (math.nan, 0.5, "mse", False),
        (math.inf, 0.5, "accuracy", False),
        (-math.inf, 0.5, "mse", False),
    ],
)
def test_better(value: float, than: float | None, name: str, expected: bool) -> None:
    assert is_better(value, than, name) is expected


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20), st.sampled_from(["accuracy", "mse"]))
def test_the_best_of_a_sequence_is_its_best_number(scores: list[float], name: str) -> None:
    best: float | None = None
    for score in scores:
        best = score if is_better(score, best, name) else best
    numbers = [score for score in scores if math.isfinite(score)]
    assert best == ((max if name == "accuracy" else min)(numbers) if numbers else None)
