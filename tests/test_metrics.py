"""Scores against a plain count, and a NaN that never wins."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import metrics
from trainer.metrics import HIGHER, LOWER, better, direction


def test_every_score_has_one_direction() -> None:
    assert not HIGHER & LOWER
    assert direction("accuracy") == direction("iou_cat") == direction("hits_10") == "max"
    assert direction("mse") == direction("nll") == "min"
    assert direction("lr") is None


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
    assert better(value, than, name) is expected


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20), st.sampled_from(["accuracy", "mse"]))
def test_the_best_of_a_sequence_is_its_best_number(scores: list[float], name: str) -> None:
    best: float | None = None
    for score in scores:
        best = score if better(score, best, name) else best
    numbers = [score for score in scores if math.isfinite(score)]
    assert best == ((max if name == "accuracy" else min)(numbers) if numbers else None)


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(labels)
@settings(deadline=None)
def test_confusion_f1_and_iou_by_counting(pairs: list[tuple[int, int]]) -> None:
    truth, guess = torch.tensor(pairs).T
    counts = metrics.confusion(guess, truth, 4)
    assert [[int(c) for c in row] for row in counts] == [[pairs.count((t, g)) for g in range(4)] for t in range(4)]
    f1, iou = [], []
    for c in range(4):
        hits = sum(t == g == c for t, g in pairs)
        either = sum(c in (t, g) for t, g in pairs)
        iou.append(hits / either if either else math.nan)
        if either:
            f1.append(2 * hits / (either + hits))
    assert metrics.f1_macro(counts) == pytest.approx(sum(f1) / len(f1))
    assert metrics.iou(counts).tolist() == pytest.approx(iou, nan_ok=True)


def test_counts_of_many_pixels_stay_exact() -> None:
    total = metrics.confusion(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 2) * 2**24
    total += metrics.confusion(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 2)
    assert int(total[0, 0]) == 2**24 + 1


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25))
@settings(deadline=None)
def test_auc_by_counting_pairs(rows: list[tuple[int, bool]]) -> None:
    margin, positive = torch.tensor([float(m) for m, _ in rows]), torch.tensor([p for _, p in rows])
    pairs = [(a > b) + (a == b) / 2 for a, yes in rows if yes for b, no in rows if not no]
    expected = sum(pairs) / len(pairs) if pairs else math.nan
    assert metrics.auc(margin, positive) == pytest.approx(expected, nan_ok=True)
