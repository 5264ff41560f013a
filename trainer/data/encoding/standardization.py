"""Mean and deviation that numbers are standardised by."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

MAX_STANDARDIZED_VALUE = 1e15
"""So many deviations from the mean a number is no measurement, and its square leaves the range of float32 soon."""


def is_constant(std: Any, mean: Any, count: int, eps: float = float(np.finfo(np.float64).eps)) -> Any:
    """Whether ``count`` numbers with this deviation and mean are one number, up to rounding in their sums.

    The rounding of a mean is up to ``count |mean| eps``: scikit-learn's rule for a column that is not scaled. Numbers,
    arrays and tensors alike; ``eps`` is that of the type they were summed in.
    """
    return std * std <= count * eps * std * std + (count * eps * mean) ** 2


def mean_and_scale(values: np.ndarray) -> tuple[float, float]:
    """Mean of numbers (N,) and what to divide them by: their deviation, or 1 where they do not differ."""
    mean, std = float(values.mean()), float(values.std())
    return mean, 1.0 if is_constant(std, mean, len(values)) else std


def tensor_mean_and_scale(values: Tensor) -> tuple[Tensor, Tensor]:
    """The same of each column of a tensor (N, F)."""
    std, mean = torch.std_mean(values, 0, correction=0)
    return mean, std.where(~is_constant(std, mean, len(values), torch.finfo(values.dtype).eps), 1.0)
