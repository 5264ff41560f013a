"""Distances between two sets of rows: against references, and a copying, a collapsed and a shifted set score badly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.metrics import sample_quality


def rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_frechet_of_known_gaussians() -> None:
    """``|m - m'|^2 + sum (s - s')^2`` where the covariances are diagonal, up to the noise of the fit."""
    made, real = rows(40000) * torch.tensor([1.0, 2, 3, 4]) + 1, rows(40000, seed=1)
    assert sample_quality.frechet_distance(made, real) == pytest.approx(4 + 1 + 4 + 9, rel=0.05)
    assert sample_quality.frechet_distance(rows(40000, seed=2), real) == pytest.approx(0, abs=0.01)


def test_frechet_equals_the_formula_with_a_matrix_root() -> None:
    made, real = rows(30).double() @ rows(4, seed=5).double(), rows(50, seed=1).double() @ rows(4, seed=6).double()
    first, second = made.T.cov().numpy(), real.T.cov().numpy()
    values = np.linalg.eigvals(first @ second).real  # those of the product are those of its symmetric form
    expected = float((made.mean(0) - real.mean(0)).square().sum()) + np.trace(first + second)
    expected -= 2 * np.sqrt(values.clip(0)).sum()
    assert sample_quality.frechet_distance(made, real) == pytest.approx(expected, rel=1e-9)
    assert sample_quality.frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_precision_and_recall_equal_a_double_loop() -> None:
    made, real = rows(40) * 1.5, rows(50, seed=1)

    def among(points: np.ndarray, others: np.ndarray) -> float:
        reach = [sorted(np.linalg.norm(others - other, axis=1))[sample_quality.NUM_NEIGHBORS] for other in others]
        inside = [any(np.linalg.norm(p - o) <= r for o, r in zip(others, reach, strict=True)) for p in points]
        return float(np.mean(inside))

    found = sample_quality.precision_recall(made, real)
    assert found == pytest.approx((among(made.numpy(), real.numpy()), among(real.numpy(), made.numpy())))


def test_one_that_collapsed_is_precise_and_recalls_nothing() -> None:
    real = rows(500)
    precision, recall = sample_quality.precision_recall(real[:1] + 1e-3 * rows(500, seed=1), real)
    assert precision == 1
    assert recall < 0.05
    assert sample_quality.precision_recall(real + 50, real) == (0, 0)
    assert min(sample_quality.precision_recall(rows(500, seed=2), real)) > 0.8


def test_copies_are_distinguished_from_new_rows() -> None:
    seen = rows(2000, 16)
    fresh = rows(300, 16, seed=1)
    assert sample_quality.copy_fraction(fresh, seen) == 0
    assert sample_quality.copy_fraction(seen[:300] + 1e-2 * fresh, seen) == 1
    assert sample_quality.copy_fraction(torch.cat((fresh, seen[:100])), seen) == pytest.approx(0.25)


def test_too_few_rows_have_no_score() -> None:
    assert math.isnan(sample_quality.frechet_distance(rows(1), rows(5)))
    assert math.isnan(sample_quality.copy_fraction(rows(1), rows(1)))
    assert all(map(math.isnan, sample_quality.precision_recall(rows(3), rows(9))))


@pytest.mark.parametrize("wide", [3, 1000])
def test_a_gaussian_has_the_moments_of_what_it_was_fitted_to(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sample_quality, "MAX_COVARIANCE_FEATURES", wide)
    seen = rows(20000) @ rows(4, seed=3) + torch.tensor([3.0, 0, -1, 5])
    torch.manual_seed(0)
    drawn = sample_quality.sample_gaussian(seen, 20000)
    assert torch.allclose(drawn.mean(0), seen.mean(0), atol=0.15)
    cov, expected = drawn.T.cov(), seen.T.cov()
    if wide < 4:
        expected = expected.diag().diag()
    assert torch.allclose(cov, expected, atol=0.05 * float(expected.max()))
