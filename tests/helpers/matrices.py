"""Random matrices and their singular values."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def largest_singular_value(matrix: Tensor) -> float:
    """Return the largest singular value of a matrix."""
    return float(torch.linalg.matrix_norm(matrix, 2))
