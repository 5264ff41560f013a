"""Double precision for sums over a split."""

from __future__ import annotations

from torch import Tensor


def to_double(x: Tensor) -> Tensor:
    """Convert to double precision, or to single precision on MPS, which has no double precision."""
    return x.float() if x.device.type == "mps" else x.double()
