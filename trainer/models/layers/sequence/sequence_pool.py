"""Pooling over the time steps of a sequence."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from trainer.models.layers.padding import find_valid_steps


class SequencePool(nn.Module):
    """Pooling of the outputs of a sequence encoder into one vector per sequence.

    ``last`` returns the final state, ``mean`` and ``max`` reduce over the valid steps, ``attention`` weights them by
    ``softmax_t(w . h_t + b)``, ``flatten`` concatenates all ``seq_len`` steps and accepts no other number of steps.

    Args:
        kind: ``last``, ``mean``, ``max``, ``attention`` or ``flatten``.
        width: number of features per step D.
        seq_len: number of steps, required by ``flatten``.

    Shape:
        steps: (B, T, D)
        ends: (B, D)
        lengths: (B), or None if all steps are valid
        output: (B, out_features)

    Raises:
        ValueError: ``flatten`` without ``seq_len``, or called with another number of steps.
    """

    def __init__(
        self, kind: Literal["last", "mean", "max", "attention", "flatten"], width: int, seq_len: int | None = None
    ):
        super().__init__()
        if kind == "flatten" and seq_len is None:
            raise ValueError("pool: flatten needs seq_len; last, mean, max and attention do not")
        self.kind = kind
        self.seq_len = seq_len
        self.score = nn.Linear(width, 1) if kind == "attention" else None
        self.out_features = width * (seq_len or 1) if kind == "flatten" else width

    def forward(self, steps: Tensor, ends: Tensor, lengths: Tensor | None) -> Tensor:
        if self.kind == "last":
            return ends
        if self.kind == "flatten":
            if steps.shape[1] != self.seq_len:
                raise ValueError(
                    f"pool: flatten was built for {self.seq_len} steps and got {steps.shape[1]};"
                    " last, mean, max and attention take any number"
                )
            return steps.flatten(1)  # the padding is zero
        valid = find_valid_steps(steps, lengths)[..., None]  # (B, T, 1)
        if self.kind == "max":
            return steps.masked_fill(~valid, -torch.inf).amax(1)
        if self.kind == "mean":
            return (steps * valid).sum(1) / valid.sum(1)
        assert self.score is not None
        return (steps * self.score(steps).masked_fill(~valid, -torch.inf).softmax(1)).sum(1)
