"""Metrics of classification against a plain count and against scikit-learn."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.metrics.classification import (
    average_precision,
    average_precision_macro,
    balanced_accuracy,
    confusion_matrix,
    f1_macro,
    iou_per_class,
    matthews_correlation,
    precision_macro,
    precision_per_class,
    recall_macro,
    recall_per_class,
    roc_auc,
    roc_auc_macro,
    threshold_curves,
)

labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(labels)
@settings(deadline=None)
def test_confusion_f1_and_iou_by_counting(pairs: list[tuple[int, int]]) -> None:
    truth, guess = torch.tensor(pairs).T
    counts = confusion_matrix(guess, truth, 4)
    assert [[int(c) for c in row] for row in counts] == [[pairs.count((t, g)) for g in range(4)] for t in range(4)]
    f1, iou = [], []
    for c in range(4):
        hits = sum(t == g == c for t, g in pairs)
        either = sum(c in (t, g) for t, g in pairs)
        iou.append(hits / either if either else math.nan)
        if either:
            f1.append(2 * hits / (either + hits))
    assert f1_macro(counts) == pytest.approx(sum(f1) / len(f1))
    assert iou_per_class(counts).tolist() == pytest.approx(iou, nan_ok=True)


@given(labels)
@settings(deadline=None, max_examples=30)
def test_metrics_of_the_confusion_matrix_match_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    from sklearn import metrics

    truth, guess = torch.tensor(pairs).T
    counts = confusion_matrix(guess, truth, 4)
    expected = metrics.precision_recall_fscore_support(truth, guess, labels=range(4), zero_division=0)
    present = [c in truth or c in guess for c in range(4)]
    for values, reference in zip((precision_per_class(counts), recall_per_class(counts)), expected, strict=False):
        assert values.tolist() == pytest.approx(np.where(present, reference, math.nan), nan_ok=True)
    averages = {"average": "macro", "zero_division": 0}
    assert precision_macro(counts) == pytest.approx(metrics.precision_score(truth, guess, **averages))
    assert recall_macro(counts) == pytest.approx(metrics.recall_score(truth, guess, **averages))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a single class, or a predicted one that never occurs
        assert matthews_correlation(counts) == pytest.approx(metrics.matthews_corrcoef(truth, guess), abs=1e-12)
        assert balanced_accuracy(counts) == pytest.approx(metrics.balanced_accuracy_score(truth, guess))


def test_counts_of_many_pixels_stay_exact() -> None:
    total = confusion_matrix(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 2) * 2**24
    total += confusion_matrix(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 2)
    assert int(total[0, 0]) == 2**24 + 1


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25))
@settings(deadline=None)
def test_auc_by_counting_pairs(rows: list[tuple[int, bool]]) -> None:
    margin, positive = torch.tensor([float(m) for m, _ in rows]), torch.tensor([p for _, p in rows])
    pairs = [(a > b) + (a == b) / 2 for a, yes in rows if yes for b, no in rows if not no]
    expected = sum(pairs) / len(pairs) if pairs else math.nan
    assert roc_auc(margin, positive) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("is_positive_rare", [True, False])
def test_auc_of_imbalanced_rows_matches_scikit_learn(is_positive_rare: bool) -> None:
    from sklearn.metrics import roc_auc_score

    generator = np.random.default_rng(0)
    positive = np.full(500_000, is_positive_rare)
    positive[generator.choice(len(positive), 25, replace=False)] = not is_positive_rare
    margin = (generator.normal(size=len(positive)) + 0.5 * positive).astype(np.float32)
    result = roc_auc(torch.from_numpy(margin), torch.from_numpy(positive))
    assert result == pytest.approx(roc_auc_score(positive, margin), abs=1e-12)


def test_f1_and_iou_of_counts_beyond_float32_are_exact() -> None:
    counts = torch.tensor([[2**40 + 2**12, 3], [2**14 + 5, 2**30 + 1]])
    (a, b), (c, d) = counts.tolist()
    assert f1_macro(counts) == pytest.approx((2 * a / (2 * a + b + c) + 2 * d / (2 * d + b + c)) / 2, rel=1e-14)
    assert iou_per_class(counts).tolist() == pytest.approx([a / (a + b + c), d / (d + b + c)], rel=1e-14)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25))
@settings(deadline=None)
def test_average_precision_by_counting_rows_above_each_margin(rows: list[tuple[int, bool]]) -> None:
    margin, positive = torch.tensor([float(m) for m, _ in rows]), torch.tensor([p for _, p in rows])
    above = [[yes for other, yes in rows if other >= m] for m, is_positive in rows if is_positive]
    expected = sum(sum(labels_above) / len(labels_above) for labels_above in above) / len(above) if above else math.nan
    assert average_precision(margin, positive) == pytest.approx(expected, nan_ok=True)


def test_macro_auc_matches_one_vs_rest_of_scikit_learn() -> None:
    from sklearn.metrics import roc_auc_score

    generator = torch.Generator().manual_seed(0)
    logits, target = torch.randn(200, 4, generator=generator), torch.randint(0, 4, (200,), generator=generator)
    expected = roc_auc_score(target, logits.double().softmax(1), multi_class="ovr", average="macro")
    assert roc_auc_macro(logits, target) == pytest.approx(expected)
    assert roc_auc_macro(logits, target.clamp(max=2)) > 0, "a class without a row is left out"
    assert math.isnan(roc_auc_macro(logits, torch.zeros(200, dtype=torch.long)))


def test_average_precision_matches_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score

    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(200, 4, generator=generator).round(decimals=1)
    target = torch.randint(0, 3, (200,), generator=generator)
    probabilities = logits.double().softmax(1)
    one_hot = torch.nn.functional.one_hot(target, 3)
    expected = average_precision_score(one_hot, probabilities[:, :3], average="macro")
    assert average_precision_macro(logits, target) == pytest.approx(expected), "a class without a row is left out"
    margin = logits[:, 0]
    assert average_precision(margin, target == 1) == pytest.approx(average_precision_score(target == 1, margin))


def test_operating_points_match_scikit_learn() -> None:
    from sklearn.metrics import roc_curve

    generator = torch.Generator().manual_seed(0)
    margin, positive = torch.randn(80, generator=generator).round(decimals=1), torch.rand(80, generator=generator) < 0.3
    false_positive_rate, true_positive_rate, _ = roc_curve(positive, margin, drop_intermediate=False)
    curves = threshold_curves(margin, positive)
    torch.testing.assert_close(curves[0], torch.from_numpy(false_positive_rate))
    torch.testing.assert_close(curves[1], torch.from_numpy(true_positive_rate))
    assert len(threshold_curves(torch.randn(5000), torch.rand(5000) < 0.5, max_points=100)[0]) == 100
