"""Where a step stands: added to its vector, or turned into its queries and keys.

Attention by itself sees a set. Only learned places know a longest sequence.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RotaryCache = tuple[Tensor, Tensor]
"""Cosines and sines (T, D / 2) by which the halves of queries and keys are turned."""


def compute_angles(start: int, steps: int, width: int, device: torch.device) -> Tensor:
    """Those of the places from ``start`` on, (steps, width / 2 rounded up)."""
    return compute_angles_at(torch.arange(start, start + steps, dtype=torch.float32, device=device), width)


def compute_angles_at(places: Tensor, width: int) -> Tensor:
    """``t / 10000^(2i / width)`` for places t (T) and waves i, (T, width / 2 rounded up)."""
    waves = torch.arange(0, width, 2, dtype=torch.float32, device=places.device)
    return places[:, None] * torch.exp(waves * (-math.log(10_000.0) / width))


def make_sinusoidal_encoding(start: int, steps: int, width: int, device: torch.device) -> Tensor:
    """A sine in each even column and its cosine in the next, (steps, width) (Vaswani et al. 2017, section 3.5)."""
    angle = compute_angles(start, steps, width, device)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width]


def rotary_cache(start: int, steps: int, width: int, device: torch.device) -> RotaryCache:
    """What ``rotate`` needs for these places."""
    angle = compute_angles(start, steps, width, device)
    return angle.cos(), angle.sin()


def apply_rotary(x: Tensor, by: RotaryCache) -> Tensor:
    """Queries or keys (..., T, D), D even, each turned by its place (Su et al. 2021, eq. 34).

    The product of a query and a key then depends on the two and on their distance. Component i goes with i + D/2,
    where the paper pairs neighbours: the same up to the order of components.
    """
    (cos, sin), (a, b) = by, x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1).to(x.dtype)


class NoPositionalEncoding(nn.Module):
    """Leaves the steps as they are: a set, or places that are turned into queries and keys."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return x


class SinusoidalPositionalEncoding(nn.Module):
    """Adds sines and cosines: any width, any number of steps."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x (B, T, D) whose first step stands at ``start``."""
        return x + make_sinusoidal_encoding(start, x.shape[1], x.shape[2], x.device).to(x.dtype)


class LearnedPositionalEncoding(nn.Module):
    """Adds a vector of its own for each of ``seq_len`` places (Gehring et al. 2017).

    Raises ValueError for a place beyond them.
    """

    def __init__(self, seq_len: int, width: int):
        super().__init__()
        self.table = nn.Parameter(torch.empty(seq_len, width))
        nn.init.normal_(self.table, std=0.02)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """x (B, T, D) whose first step stands at ``start``."""
        end = start + x.shape[1]
        if end > len(self.table):
            raise ValueError(
                f"positions: learned for {len(self.table)} steps (seq_len) and got {end};"
                " sinusoidal, rotary and none take any number"
            )
        return x + self.table[start:end]
