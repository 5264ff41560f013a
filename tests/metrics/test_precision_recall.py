"""Precision and recall of samples: equal to a double loop; collapsed and shifted sets score badly."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.metrics.precision_recall import NUM_NEIGHBORS, precision_recall


def rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_precision_and_recall_equal_a_double_loop() -> None:
    made, real = rows(40) * 1.5, rows(50, seed=1)

    def among(points: np.ndarray, others: np.ndarray) -> float:
        reach = [sorted(np.linalg.norm(others - other, axis=1))[NUM_NEIGHBORS] for other in others]
        inside = [any(np.linalg.norm(p - o) <= r for o, r in zip(others, reach, strict=True)) for p in points]
        return float(np.mean(inside))

    found = precision_recall(made, real)
    assert found == pytest.approx((among(made.numpy(), real.numpy()), among(real.numpy(), made.numpy())))


def test_one_that_collapsed_is_precise_and_recalls_nothing() -> None:
    real = rows(500)
    precision, recall = precision_recall(real[:1] + 1e-3 * rows(500, seed=1), real)
    assert precision == 1
    assert recall < 0.05
    assert precision_recall(real + 50, real) == (0, 0)
    assert min(precision_recall(rows(500, seed=2), real)) > 0.8


def test_too_few_rows_have_no_score() -> None:
    assert all(map(math.isnan, precision_recall(rows(3), rows(9))))
