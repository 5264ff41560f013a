"""The Gaussian fitted to rows has their moments."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.metrics import gaussian


def rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("wide", [3, 1000])
def test_a_gaussian_has_the_moments_of_what_it_was_fitted_to(wide: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gaussian, "MAX_COVARIANCE_FEATURES", wide)
    seen = rows(20000) @ rows(4, seed=3) + torch.tensor([3.0, 0, -1, 5])
    torch.manual_seed(0)
    drawn = gaussian.sample_gaussian(seen, 20000)
    assert torch.allclose(drawn.mean(0), seen.mean(0), atol=0.15)
    cov, expected = drawn.T.cov(), seen.T.cov()
    if wide < 4:
        expected = expected.diag().diag()
    assert torch.allclose(cov, expected, atol=0.05 * float(expected.max()))
