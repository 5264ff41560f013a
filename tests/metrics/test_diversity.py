"""Diversity of an ensemble."""

from __future__ import annotations

import numpy as np
import torch

from trainer.metrics.diversity import compute_disagreement, compute_spread


def test_disagreement_is_the_share_of_pairs_with_different_classes() -> None:
    labels = [torch.tensor([0, 1, 2, 0]), torch.tensor([0, 1, 1, 1]), torch.tensor([0, 2, 0, 1])]
    torch.testing.assert_close(compute_disagreement(labels), torch.tensor([0, 2 / 3, 1, 2 / 3], dtype=torch.float64))


def test_a_single_member_agrees_with_itself() -> None:
    assert compute_disagreement([torch.tensor([0, 1])]).tolist() == [0, 0]
    assert compute_spread([torch.tensor([0.5, 1.0])]).tolist() == [0, 0]


def test_spread_is_the_standard_deviation_over_members() -> None:
    values = torch.randn(4, 3, 2)
    np.testing.assert_allclose(compute_spread(list(values)).numpy(), values.double().numpy().std(0))
