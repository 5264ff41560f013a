"""Copies of training rows among generated ones."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from trainer.metrics.memorization import copy_fraction


def make_rows(count: int, width: int = 4, seed: int = 0) -> Tensor:
    return torch.randn(count, width, generator=torch.Generator().manual_seed(seed))


def test_copies_are_distinguished_from_new_rows() -> None:
    training_rows = make_rows(2000, 16)
    new_rows = make_rows(300, 16, seed=1)
    assert copy_fraction(new_rows, training_rows) == 0
    assert copy_fraction(training_rows[:300] + 1e-2 * new_rows, training_rows) == 1
    assert copy_fraction(torch.cat((new_rows, training_rows[:100])), training_rows) == pytest.approx(0.25)


def test_a_single_training_row_has_no_score() -> None:
    assert math.isnan(copy_fraction(make_rows(1), make_rows(1)))
