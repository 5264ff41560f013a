"""Divergences against torch.distributions, class sizes and missing targets."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from trainer.core.batch import Batch
from trainer.core.class_sizes import class_sizes
from trainer.core.divergences import standard_normal_kl


@pytest.mark.slow
def test_standard_normal_kl_matches_torch() -> None:
    mean, log_variance = torch.randn(2, 7, 5, dtype=torch.float64)
    posterior = Independent(Normal(mean, torch.exp(log_variance / 2)), 1)
    standard = Independent(Normal(torch.zeros_like(mean), torch.ones_like(mean)), 1)
    torch.testing.assert_close(standard_normal_kl(mean, log_variance), kl_divergence(posterior, standard))


def test_two_classes_have_one_output() -> None:
    assert class_sizes(2) == {"num_classes": 2, "out_features": 1}
    assert class_sizes(3) == {"num_classes": 3, "out_features": 3}


def test_a_missing_target_is_reported() -> None:
    index = torch.arange(2)
    assert Batch({}, index, index).require_target() is index
    with pytest.raises(ValueError, match="no targets"):
        Batch({}, None, index).require_target()
