"""What a decoder says with nothing but its own past."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

Rows = tuple[Tensor, ...]
"""Tensors with the rows first."""


class Decoder(Protocol):
    def decode(self, tokens: Tensor, memory: Rows, state: Rows | None = None) -> tuple[Tensor, Rows]:
        """(B, T) -> (B, T, V) and the state after."""


def greedy_scores(model: Decoder, memory: Rows, start: Tensor, steps: int) -> Tensor:
    """Scores (B, steps, V) where the likeliest token is fed back each time, after ``start`` (B, 1)."""
    tokens, state, scores = start, None, []
    for _ in range(steps):
        step, state = model.decode(tokens, memory, state)
        scores.append(step)
        tokens = step.argmax(-1)
    return torch.cat(scores, 1)
