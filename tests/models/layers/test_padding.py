"""Padding masks against a loop over rows."""

from __future__ import annotations

import torch

from trainer.models.layers.padding import find_valid_steps, make_valid_mask


def test_valid_mask_follows_lengths() -> None:
    x, lengths = torch.zeros(3, 4, 2), torch.tensor([4, 1, 0])
    expected = torch.tensor([[step < length for step in range(4)] for length in lengths.tolist()])
    mask = make_valid_mask(x, lengths)
    assert mask is not None
    assert torch.equal(mask, expected)
    assert torch.equal(find_valid_steps(x, lengths), expected)


def test_missing_lengths_make_all_steps_valid() -> None:
    x = torch.zeros(3, 4)
    assert make_valid_mask(x, None) is None
    assert torch.equal(find_valid_steps(x, None), torch.ones(3, 4, dtype=torch.bool))
