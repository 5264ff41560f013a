"""Vectors as the nearest of a few that follow them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

DEAD_CODE_THRESHOLD = 0.1
"""A code that is used less than this share of the mean use is put elsewhere."""
MIN_CODE_USAGE = 1e-9
"""Below this share of all vectors a code has no mean to speak of, and stays where it is."""


class VectorQuantizer(nn.Module):
    """z (..., D) -> vectors (..., D), codes (...)

    van den Oord et al. 2017: ``code = argmin_k |z - e_k|`` in a codebook e (K, D), and the vector e_code. In training
    mode the codebook follows the z it is given (their appendix A), without a gradient. With n_k the share of a batch
    that is nearest to e_k and s_k what that share adds up to,
    ``N_k <- decay N_k + (1 - decay) n_k``, ``m_k <- decay m_k + (1 - decay) s_k``, ``e_k = m_k / N_k``.

    That is k-means, which never mends a start that leaves two clusters to one code and one cluster to two. With
    ``restarts`` codes therefore begin anew at z drawn by their squared distance to the nearest code (Arthur and
    Vassilvitskii 2007): all that are hardly used, as they all are at the start; and the one that is missed the least,
    whenever the batch gains more by it elsewhere (a local search as in Lattanzi and Sohler 2019).
    """

    codebook: Tensor
    shares: Tensor
    sums: Tensor

    def __init__(self, codes: int, width: int, decay: float = 0.99, restarts: bool = True):
        super().__init__()
        self.decay = decay
        self.restarts = restarts
        self.register_buffer("codebook", torch.randn(codes, width))
        self.register_buffer("shares", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))

    def forward(self, z: Tensor, follow: bool = True) -> tuple[Tensor, Tensor]:
        with torch.autocast(z.device.type, enabled=False):
            rows = z.detach().float().flatten(0, -2)
            error, codes = compute_distances(rows, self.codebook).min(1)
            vectors = F.embedding(codes, self.codebook)
            if follow and self.training:
                self.ema_update(rows, error, codes)
        return vectors.view(z.shape), codes.view(z.shape[:-1])

    def ema_update(self, rows: Tensor, error: Tensor, codes: Tensor) -> None:
        """Moves the codebook after rows (N, D), given the nearest codes (N,) and the squared distances to them."""
        chosen = F.one_hot(codes, len(self.shares)).to(rows.dtype)
        self.shares.lerp_(chosen.mean(0), 1 - self.decay)
        self.sums.lerp_(chosen.T @ rows / len(rows), 1 - self.decay)
        if self.restarts:
            anew, place = self.reset_dead_codes(rows, error)
            # As if used like the mean code, or the next batch would think that nothing is lost with it.
            use = 1 / len(self.shares)
            self.shares.copy_(torch.where(anew, use, self.shares))
            self.sums.copy_(torch.where(anew[:, None], use * rows[place], self.sums))
        used = self.shares[:, None]
        self.codebook.copy_(torch.where(used > MIN_CODE_USAGE, self.sums / used, self.codebook))

    def reset_dead_codes(self, rows: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Which codes begin anew, (K,), and the rows at which they do, (K,), given all errors (N,)."""
        count, mass = len(self.shares), error.cumsum(0)
        # Drawing by bisection takes any numbers, so that what is not finite is told by the guard and not from here.
        place = torch.searchsorted(mass, mass[-1] * torch.rand(count, device=mass.device)).clamp(max=len(rows) - 1)
        # The row that is drawn gains the most by it, and is left out.
        drawn = place[:1]
        gains = (error - (rows - rows[drawn]).square().sum(1)).clamp(min=0)
        gain = (gains.sum() - gains[drawn]) / len(rows)
        # The vectors of a code that goes have the nearest other one left.
        apart = compute_distances(self.codebook, self.codebook).fill_diagonal_(torch.inf).amin(1)
        loss, least = (self.shares / self.shares.sum() * apart).min(0)
        swapped = (torch.arange(count, device=mass.device) == least) & (loss < gain)
        return (self.shares < DEAD_CODE_THRESHOLD / count) | swapped, torch.where(swapped, drawn, place)


def compute_distances(rows: Tensor, codebook: Tensor) -> Tensor:
    """Squared distances (N, K) of rows (N, D) and codes (K, D)."""
    cross = torch.addmm(codebook.square().sum(1), rows, codebook.T, alpha=-2)
    return (cross + rows.square().sum(1, keepdim=True)).clamp(min=0)


def straight_through(z: Tensor, vectors: Tensor) -> Tensor:
    """The value of ``vectors`` with the gradient of ``z`` (Bengio et al. 2013)."""
    return z + (vectors - z).detach()
