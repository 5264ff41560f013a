"""Random factors of dropout, which another computation of the same loss can replace."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function_unary


def draw_dropout_factors(x: Tensor, p: float, generator: torch.Generator | None = None) -> Tensor:
    """Draw a factor for each value of a tensor on the CPU: 0 with probability ``p``, else ``1 / (1 - p)``.

    A draw uses 16 bits of torch's generator instead of a call to it, five times faster; ``p`` is thereby rounded to a
    multiple of 2**-16, and the factor is that of the rounded value. A ``TorchFunctionMode`` may override the function.

    Args:
        x: The tensor.
        p: Probability in [0, 1].
        generator: Generator of the draws; None for the default one.

    Shape:
        x: any
        output: that of ``x``
    """
    if has_torch_function_unary(x):
        factors: Tensor = handle_torch_function(draw_dropout_factors, (x,), x, p, generator)
        return factors
    dropped = round(p * 2**16)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None, generator=generator)
    keep = words.view(torch.int16)[: x.numel()].view(x.shape) > dropped - 2**15 - 1
    return keep.to(x.dtype).mul_(2**16 / max(1, 2**16 - dropped))
