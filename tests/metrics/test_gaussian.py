"""Samples of a Gaussian fitted to rows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.metrics import gaussian


def make_rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("max_features", [3, 1000])
def test_samples_have_the_moments_of_the_fitted_rows(max_features: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "MAX_COVARIANCE_FEATURES", max_features)
    training_rows = make_rows(20000) @ make_rows(4, seed=3) + torch.tensor([3.0, 0, -1, 5])
    torch.manual_seed(0)
    samples = gaussian.sample_gaussian(training_rows, 20000)
    assert torch.allclose(samples.mean(0), training_rows.mean(0), atol=0.15)
    cov, expected = samples.T.cov(), training_rows.T.cov()
    if max_features < 4:
        expected = expected.diag().diag()
    assert torch.allclose(cov, expected, atol=0.05 * float(expected.max()))
