"""Frechet distance against closed forms for Gaussians and the formula with a matrix root."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.metrics.fid import frechet_distance


def make_rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_frechet_of_known_gaussians() -> None:
    """``|m - m'|^2 + sum (s - s')^2`` where the covariances are diagonal, up to the noise of the fit."""
    generated, real = make_rows(40000) * torch.tensor([1.0, 2, 3, 4]) + 1, make_rows(40000, seed=1)
    assert frechet_distance(generated, real) == pytest.approx(4 + 1 + 4 + 9, rel=0.05)
    assert frechet_distance(make_rows(40000, seed=2), real) == pytest.approx(0, abs=0.01)


def test_frechet_equals_the_formula_with_a_matrix_root() -> None:
    generated, real = (
        make_rows(30).double() @ make_rows(4, seed=5).double(),
        make_rows(50, seed=1).double() @ make_rows(4, seed=6).double(),
    )
    first, second = generated.T.cov().numpy(), real.T.cov().numpy()
    values = np.linalg.eigvals(first @ second).real  # those of the product are those of its symmetric form
    expected = float((generated.mean(0) - real.mean(0)).square().sum()) + np.trace(first + second)
    expected -= 2 * np.sqrt(values.clip(0)).sum()
    assert frechet_distance(generated, real) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(real, real) == pytest.approx(0, abs=1e-9)


def test_a_single_row_has_no_distance() -> None:
    assert math.isnan(frechet_distance(make_rows(1), make_rows(5)))
