"""Mean and scale for standardization."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

MAX_STANDARDIZED_VALUE = 1e15
"""Maximum number of standard deviations from the mean; beyond it squares approach the range of float32."""


def is_constant(std: Any, mean: Any, count: int, eps: float = float(np.finfo(np.float64).eps)) -> Any:
    """Return whether ``count`` numbers with this standard deviation and mean are constant up to rounding.

    The rounding error of a mean is up to ``count |mean| eps``, which is scikit-learn's rule for constant features.
    Accepts numbers, arrays and tensors; ``eps`` is that of the type of accumulation.

    Args:
        std: Standard deviation.
        mean: Mean.
        count: Number of values.
        eps: Machine epsilon of the type of accumulation.
    """
    return std * std <= count * eps * std * std + (count * eps * mean) ** 2


def mean_and_scale(values: np.ndarray) -> tuple[float, float]:
    """Return the mean of numbers (N,) and their scale: the standard deviation, or 1 for constant values."""
    mean, std = float(values.mean()), float(values.std())
    return mean, 1.0 if is_constant(std, mean, len(values)) else std


def tensor_mean_and_scale(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and scale of each column of a tensor (N, F), see ``mean_and_scale``."""
    import torch

    std, mean = torch.std_mean(values, 0, correction=0)
    return mean, std.where(~is_constant(std, mean, len(values), torch.finfo(values.dtype).eps), 1.0)
