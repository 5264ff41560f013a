"""Masks of padding against a loop over rows."""

from __future__ import annotations

import torch

from trainer.models.layers.padding import find_valid_steps, make_valid_mask


def test_steps_before_the_end_of_a_row_are_real() -> None:
    x, lengths = torch.zeros(3, 4, 2), torch.tensor([4, 1, 0])
    expected = torch.tensor([[step < length for step in range(4)] for length in lengths.tolist()])
    made = make_valid_mask(x, lengths)
    assert made is not None
    assert torch.equal(made, expected)
    assert torch.equal(find_valid_steps(x, lengths), expected)


def test_without_lengths_all_steps_are_real() -> None:
    x = torch.zeros(3, 4)
    assert make_valid_mask(x, None) is None
    assert torch.equal(find_valid_steps(x, None), torch.ones(3, 4, dtype=torch.bool))
