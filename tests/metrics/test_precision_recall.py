"""Precision and recall of samples against a double loop, and of collapsed and shifted samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.metrics.precision_recall import NUM_NEIGHBORS, precision_recall


def make_rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_precision_and_recall_equal_a_double_loop() -> None:
    generated, real = make_rows(40) * 1.5, make_rows(50, seed=1)

    def compute_share_inside(points: np.ndarray, others: np.ndarray) -> float:
        radii = [sorted(np.linalg.norm(others - other, axis=1))[NUM_NEIGHBORS] for other in others]
        inside = [any(np.linalg.norm(p - o) <= r for o, r in zip(others, radii, strict=True)) for p in points]
        return float(np.mean(inside))

    result = precision_recall(generated, real)
    assert result == pytest.approx(
        (compute_share_inside(generated.numpy(), real.numpy()), compute_share_inside(real.numpy(), generated.numpy()))
    )


def test_collapsed_samples_have_high_precision_and_low_recall() -> None:
    real = make_rows(500)
    precision, recall = precision_recall(real[:1] + 1e-3 * make_rows(500, seed=1), real)
    assert precision == 1
    assert recall < 0.05
    assert precision_recall(real + 50, real) == (0, 0)
    assert min(precision_recall(make_rows(500, seed=2), real)) > 0.8


def test_too_few_rows_have_no_score() -> None:
    assert all(map(math.isnan, precision_recall(make_rows(3), make_rows(9))))
