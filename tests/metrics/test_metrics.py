"""Scores against a plain count, and a NaN that never wins."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.metrics import metrics
from trainer.metrics.metrics import HIGHER_IS_BETTER, LOWER_IS_BETTER, get_direction, is_better


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


labels = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=40)


@given(labels)
@settings(deadline=None)
def test_confusion_f1_and_iou_by_counting(pairs: list[tuple[int, int]]) -> None:
    truth, guess = torch.tensor(pairs).T
    counts = metrics.confusion_matrix(guess, truth, 4)
    assert [[int(c) for c in row] for row in counts] == [[pairs.count((t, g)) for g in range(4)] for t in range(4)]
    f1, iou = [], []
    for c in range(4):
        hits = sum(t == g == c for t, g in pairs)
        either = sum(c in (t, g) for t, g in pairs)
        iou.append(hits / either if either else math.nan)
        if either:
            f1.append(2 * hits / (either + hits))
    assert metrics.f1_macro(counts) == pytest.approx(sum(f1) / len(f1))
    assert metrics.iou_per_class(counts).tolist() == pytest.approx(iou, nan_ok=True)


def test_counts_of_many_pixels_stay_exact() -> None:
    total = metrics.confusion_matrix(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 2) * 2**24
    total += metrics.confusion_matrix(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long), 2)
    assert int(total[0, 0]) == 2**24 + 1


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25))
@settings(deadline=None)
def test_auc_by_counting_pairs(rows: list[tuple[int, bool]]) -> None:
    margin, positive = torch.tensor([float(m) for m, _ in rows]), torch.tensor([p for _, p in rows])
    pairs = [(a > b) + (a == b) / 2 for a, yes in rows if yes for b, no in rows if not no]
    expected = sum(pairs) / len(pairs) if pairs else math.nan
    assert metrics.roc_auc(margin, positive) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize("few", [True, False])
def test_auc_of_many_rows_of_which_few_are_of_one_class_is_that_of_scikit_learn(few: bool) -> None:
    from sklearn.metrics import roc_auc_score

    draw = np.random.default_rng(0)
    positive = np.full(500_000, few)
    positive[draw.choice(len(positive), 25, replace=False)] = not few
    margin = (draw.normal(size=len(positive)) + 0.5 * positive).astype(np.float32)
    found = metrics.roc_auc(torch.from_numpy(margin), torch.from_numpy(positive))
    assert found == pytest.approx(roc_auc_score(positive, margin), abs=1e-12)


def test_shares_of_counts_beyond_float32_are_those_of_whole_numbers() -> None:
    counts = torch.tensor([[2**40 + 2**12, 3], [2**14 + 5, 2**30 + 1]])
    (a, b), (c, d) = counts.tolist()
    assert metrics.f1_macro(counts) == pytest.approx((2 * a / (2 * a + b + c) + 2 * d / (2 * d + b + c)) / 2, rel=1e-14)
    assert metrics.iou_per_class(counts).tolist() == pytest.approx([a / (a + b + c), d / (d + b + c)], rel=1e-14)


@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=25))
@settings(deadline=None)
def test_average_precision_by_counting_down_the_margins(rows: list[tuple[int, bool]]) -> None:
    margin, positive = torch.tensor([float(m) for m, _ in rows]), torch.tensor([p for _, p in rows])
    above = [[yes for other, yes in rows if other >= m] for m, found in rows if found]
    expected = sum(sum(taken) / len(taken) for taken in above) / len(above) if above else math.nan
    assert metrics.average_precision(margin, positive) == pytest.approx(expected, nan_ok=True)


def sentences(count: int, seed: int) -> tuple[list[list[str]], list[list[str]]]:
    """References, and what somebody made of them."""
    draw = random.Random(seed)
    references = [[draw.choice("abcdef") for _ in range(draw.randint(1, 9))] for _ in range(count)]
    draw = random.Random(seed + 100)
    written = [
        [word if draw.random() < 0.7 else draw.choice("abcdef") for word in words][: draw.randint(1, 10)]
        for words in references
    ]
    return written, references


def corpus_bleu(written: list[list[str]], references: list[list[str]]) -> float:
    counts = [metrics.count_bleu_ngrams(a, b, "?") for a, b in zip(written, references, strict=True)]
    return metrics.corpus_bleu([sum(column) for column in zip(*counts, strict=True)])


@pytest.mark.parametrize(
    ("count", "seed", "expected"),
    [(3, 0, 15.077967214367604), (5, 1, 58.25562038319634), (40, 2, 34.60540732418155), (40, 3, 36.67122652759392)],
)
def test_bleu_is_that_of_sacrebleu(count: int, seed: int, expected: float) -> None:
    """The numbers are of sacrebleu 2.6, ``corpus_bleu(..., tokenize="none")``."""
    assert corpus_bleu(*sentences(count, seed)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("count", "expected"), [(1, 48.892302243490086), (2, 29.457552312272966), (3, 27.51947508909674)]
)
def test_bleu_smooths_and_counts_brevity_as_sacrebleu_does(count: int, expected: float) -> None:
    pairs = [
        ("the cat sat on the mat .", "the cat is on the mat ."),
        ("a dog runs", "two dogs run in the park"),
        ("a man in a red shirt climbs a rock .", "a man in red climbs up a rock ."),
    ][:count]
    assert corpus_bleu([a.split() for a, _ in pairs], [b.split() for _, b in pairs]) == pytest.approx(expected)


def test_bleu_is_100_for_what_was_expected_and_unknown_words_match_nothing() -> None:
    same = [["a", "b", "c", "d", "e"]]
    assert corpus_bleu(same, same) == pytest.approx(100)
    unknown = [["a", "b", "?", "d", "e"]]
    assert metrics.count_bleu_ngrams(unknown[0], unknown[0], "?") == [4, 2, 0, 0, 5, 4, 3, 2, 5, 5]
    assert corpus_bleu([[]], same) == 0


def test_auc_of_several_classes_is_the_mean_of_each_against_the_others() -> None:
    from sklearn.metrics import roc_auc_score

    random = torch.Generator().manual_seed(0)
    logits, target = torch.randn(200, 4, generator=random), torch.randint(0, 4, (200,), generator=random)
    expected = roc_auc_score(target, logits.double().softmax(1), multi_class="ovr", average="macro")
    assert metrics.roc_auc_macro(logits, target) == pytest.approx(expected)
    assert metrics.roc_auc_macro(logits, target.clamp(max=2)) > 0, "a class without a row is left out"
    assert math.isnan(metrics.roc_auc_macro(logits, torch.zeros(200, dtype=torch.long)))


def test_operating_points_are_those_of_sklearn() -> None:
    from sklearn.metrics import roc_curve

    random = torch.Generator().manual_seed(0)
    margin, positive = torch.randn(80, generator=random).round(decimals=1), torch.rand(80, generator=random) < 0.3
    false, found, _ = roc_curve(positive, margin, drop_intermediate=False)
    ours = metrics.threshold_curves(margin, positive)
    torch.testing.assert_close(ours[0], torch.from_numpy(false))
    torch.testing.assert_close(ours[1], torch.from_numpy(found))
    assert len(metrics.threshold_curves(torch.randn(5000), torch.rand(5000) < 0.5, most=100)[0]) == 100
