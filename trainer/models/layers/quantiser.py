"""Vectors as the nearest of a few that are learned beside them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FRESH, IDLE, NOTHING = 0.1, 0.01, 1e-9


class Quantiser(nn.Module):
    """z (..., D) -> codes (...) and the vectors of a codebook (K, D) that they name, (..., D)

    van den Oord et al. 2017: ``code = argmin_k |z - e_k|``. In training mode the codebook follows the vectors it is
    asked for (their appendix A) without any gradient: with n_k the share of a batch that code k is nearest to and s_k
    the sum of that share, ``N_k <- decay N_k + (1 - decay) n_k``, ``m_k <- decay m_k + (1 - decay) s_k`` and
    ``e_k = m_k / N_k``. Each batch is a step of k-means by itself.

    k-means stays where it begins: one code on two clusters and two on one. With ``restarts`` codes are therefore put
    where a batch is served badly: vectors drawn by their squared distance to the nearest code (Arthur and
    Vassilvitskii 2007) take the place of codes hardly used, and one of them that of the code that is missed the least,
    if the batch then lies closer (Lattanzi and Sohler 2019). All codes are unused at first, so the first batch
    begins the codebook.
    """

    codebook: Tensor
    shares: Tensor
    sums: Tensor

    def __init__(self, codes: int, width: int, decay: float, restarts: bool):
        super().__init__()
        self.decay = decay
        self.restarts = restarts
        self.register_buffer("codebook", torch.randn(codes, width))
        self.register_buffer("shares", torch.zeros(codes))
        self.register_buffer("sums", torch.zeros(codes, width))

    def forward(self, z: Tensor) -> tuple[Tensor, Tensor]:
        rows = z.detach().float().flatten(0, -2)
        away = distances(rows, self.codebook)
        codes = away.argmin(1)
        found = F.embedding(codes, self.codebook)
        if self.training:
            self.follow(rows, away, codes)
        return found.view(z.shape), codes.view(z.shape[:-1])

    def follow(self, rows: Tensor, away: Tensor, codes: Tensor) -> None:
        """Moves the codebook after rows (N, D), whose distances to it (N, K) and nearest codes (N,) are given."""
        chosen = F.one_hot(codes, len(self.codebook)).to(rows.dtype)
        self.shares.lerp_(chosen.mean(0), 1 - self.decay)
        self.sums.lerp_(chosen.T @ rows / len(rows), 1 - self.decay)
        if self.restarts:
            moved, vectors = self.restarted(rows, away.amin(1))
            weight = FRESH / len(self.codebook)
            self.shares.copy_(torch.where(moved, weight, self.shares))
            self.sums.copy_(torch.where(moved[:, None], weight * vectors, self.sums))
        used = self.shares[:, None] > NOTHING
        self.codebook.copy_(torch.where(used, self.sums / self.shares[:, None], self.codebook))

    def restarted(self, rows: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Which codes begin anew, (K,), and where each would, (K, D), given rows (N, D) and their error (N,)."""
        count = len(self.codebook)
        mass = error.cumsum(0)
        drawn = torch.searchsorted(mass, mass[-1] * torch.rand(count, device=mass.device)).clamp(max=len(rows) - 1)
        idle = self.shares < IDLE / count
        # What the rows but the drawn one itself would gain by it, against what the vectors of a code would lose.
        first = drawn[0]
        gain = (error - (rows - rows[first]).square().sum(1)).clamp(min=0)
        gain = (gain.sum() - gain[first]) / len(rows)
        apart = distances(self.codebook, self.codebook).fill_diagonal_(torch.inf)
        loss = self.shares / self.shares.sum() * apart.amin(1)
        swapped = (torch.arange(count, device=loss.device) == loss.argmin()) & (loss < gain)
        return idle | swapped, rows[torch.where(swapped, first, drawn)]


def distances(rows: Tensor, codebook: Tensor) -> Tensor:
    """Squared distances (N, K) of rows (N, D) to codes (K, D)."""
    cross = torch.addmm(codebook.square().sum(1), rows, codebook.T, alpha=-2)
    return (cross + rows.square().sum(1, keepdim=True)).clamp(min=0)


def straight_through(z: Tensor, found: Tensor, share: Tensor | float = 1.0) -> Tensor:
    """``found`` in value, ``z`` in its gradient (Bengio et al. 2013); with less of a ``share`` so much of z as is
    left."""
    return z + (share * (found - z)).detach()
