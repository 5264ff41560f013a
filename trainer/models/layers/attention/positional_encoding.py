"""Sinusoidal, learned and rotary positional encodings.

Self-attention alone is permutation equivariant. Only the learned encoding has a maximum sequence length.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

RotaryCache = tuple[Tensor, Tensor]
"""Cosines and sines (T, D / 2) of the rotation angles."""


def compute_angles(start: int, steps: int, width: int, device: torch.device) -> Tensor:
    """Compute the angles of positions ``start`` to ``start + steps - 1``, (steps, ceil(width / 2)).

    Args:
        start: first position.
        steps: number of positions.
        width: dimension of the encoding.
        device: device of the result.
    """
    return compute_angles_at(torch.arange(start, start + steps, dtype=torch.float32, device=device), width)


def compute_angles_at(positions: Tensor, width: int) -> Tensor:
    """Compute the angles ``t / 10000^(2i / width)`` of positions t (T) and frequencies i, (T, ceil(width / 2)).

    Args:
        positions: positions (T), which may be fractional.
        width: dimension of the encoding.
    """
    dims = torch.arange(0, width, 2, dtype=torch.float32, device=positions.device)
    return positions[:, None] * torch.exp(dims * (-math.log(10_000.0) / width))


def make_sinusoidal_encoding(start: int, steps: int, width: int, device: torch.device) -> Tensor:
    """Compute sinusoidal positional encodings (steps, width): sines in even columns, cosines in odd ones.

    Args:
        start: first position.
        steps: number of positions.
        width: dimension of the encoding.
        device: device of the result.

    References:
        Vaswani et al. 2017, Attention Is All You Need, section 3.5
    """
    angle = compute_angles(start, steps, width, device)
    return torch.stack((angle.sin(), angle.cos()), -1).flatten(1)[:, :width]


def rotary_cache(start: int, steps: int, width: int, device: torch.device) -> RotaryCache:
    """Compute the cosines and sines of the rotary embedding for positions ``start`` to ``start + steps - 1``.

    Args:
        start: first position.
        steps: number of positions.
        width: dimension D of a head, even.
        device: device of the result.
    """
    angle = compute_angles(start, steps, width, device)
    return angle.cos(), angle.sin()


def apply_rotary(x: Tensor, rotary: RotaryCache) -> Tensor:
    """Apply rotary position embeddings to queries or keys (..., T, D), D even.

    The product of a query and a key then depends on their relative position only. Component i is paired with i + D/2
    instead of its neighbor as in the paper, which is equal up to a permutation of the components.

    Args:
        x: queries or keys (..., T, D).
        rotary: cosines and sines (T, D / 2), see ``rotary_cache``.

    References:
        Su et al. 2021, RoFormer, eq. 34
    """
    (cos, sin), (a, b) = rotary, x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, a * sin + b * cos), -1).to(x.dtype)


class NoPositionalEncoding(nn.Module):
    """Identity, for sets and for rotary embeddings, which are applied to queries and keys."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        return x


class SinusoidalPositionalEncoding(nn.Module):
    """Additive sinusoidal positional encoding for any width and sequence length."""

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add the encodings of positions ``start``, ``start + 1``, ... to x.

        Args:
            x: input (B, T, D).
            start: position of the first step.
        """
        return x + make_sinusoidal_encoding(start, x.shape[1], x.shape[2], x.device).to(x.dtype)


class LearnedPositionalEncoding(nn.Module):
    """Learned absolute positional embedding.

    Args:
        seq_len: maximum number of positions.
        width: embedding dimension.

    Raises:
        ValueError: a position beyond ``seq_len``.

    References:
        Gehring et al. 2017, Convolutional Sequence to Sequence Learning
    """

    def __init__(self, seq_len: int, width: int):
        super().__init__()
        self.embedding = nn.Parameter(torch.empty(seq_len, width))
        nn.init.normal_(self.embedding, std=0.02)

    def forward(self, x: Tensor, start: int = 0) -> Tensor:
        """Add the encodings of positions ``start``, ``start + 1``, ... to x.

        Args:
            x: input (B, T, D).
            start: position of the first step.

        Raises:
            ValueError: a position beyond ``seq_len``.
        """
        end = start + x.shape[1]
        if end > len(self.embedding):
            raise ValueError(
                f"positions: learned for {len(self.embedding)} steps (seq_len) and got {end};"
                " sinusoidal, rotary and none take any number"
            )
        return x + self.embedding[start:end]
