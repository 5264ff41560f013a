"""Copies of training rows among generated ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.metrics.memorization import copy_fraction


def rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_copies_are_distinguished_from_new_rows() -> None:
    seen = rows(2000, 16)
    fresh = rows(300, 16, seed=1)
    assert copy_fraction(fresh, seen) == 0
    assert copy_fraction(seen[:300] + 1e-2 * fresh, seen) == 1
    assert copy_fraction(torch.cat((fresh, seen[:100])), seen) == pytest.approx(0.25)


def test_a_single_training_row_has_no_score() -> None:
    assert math.isnan(copy_fraction(rows(1), rows(1)))
