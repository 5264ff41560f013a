"""Terms of the evidence lower bound."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class ElboTerms(NamedTuple):
    """Terms of the evidence lower bound (ELBO) in nats, (B,) each."""

    reconstruction: Tensor
    """``-E_q log p(x|z)``, estimated from posterior samples."""
    kl: Tensor
    """``KL(q(z|x) || p(z))``, in closed form."""
    bound: Tensor
    """Importance-weighted bound ``log 1/k sum_i p(x, z_i) / q(z_i|x)`` of the same samples."""
