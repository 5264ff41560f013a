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

    def name_scores(self) -> dict[str, Tensor]:
        """Return the bound (B,) and its terms, by the names of the metrics that average them."""
        elbo = -self.reconstruction - self.kl
        return {"elbo": elbo, "iw_bound": self.bound, "reconstruction": self.reconstruction, "kl": self.kl}
