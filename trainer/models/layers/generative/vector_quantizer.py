"""Vector quantization with an EMA codebook."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.ordered_sums import cumulative_sum

DEAD_CODE_THRESHOLD = 0.1
"""Codes used less than this fraction of the mean usage are reset."""
MIN_CODE_USAGE = 1e-9
"""Codes used by less than this fraction of the vectors have no reliable mean and stay in place."""


class VectorQuantizer(nn.Module):
    """Vector quantizer ``code = argmin_k |z - e_k|`` with a codebook e (K, D) updated by exponential moving averages.

    In training mode the codebook follows z without a gradient. With n_k the fraction of the batch nearest to e_k and
    s_k the sum of those vectors over the batch size, ``N_k <- decay N_k + (1 - decay) n_k``, ``m_k <- decay m_k + (1 -
    decay) s_k``, ``e_k = m_k / N_k``.

    This is online k-means, which cannot leave an initialization where two clusters share one code and one cluster has
    two. With ``restarts``, codes are therefore reset to vectors drawn in proportion to their squared distance to the
    nearest code (k-means++): all rarely used codes, which includes all codes at the start, and the code whose removal
    costs least, whenever the batch error decreases by moving it (local search).

    Args:
        codes: codebook size K.
        width: vector dimension D.
        decay: EMA decay.
        restarts: reset dead codes.

    Shape:
        z: (..., D)
        vectors: (..., D)
        codes: (...)

    References:
        van den Oord et al. 2017, Neural Discrete Representation Learning, appendix A.
        Arthur and Vassilvitskii 2007, k-means++: The Advantages of Careful Seeding.
        Lattanzi and Sohler 2019, A Better k-means++ Algorithm via Local Search.
    """

    codebook: Tensor
    ema_cluster_size: Tensor
    ema_cluster_sum: Tensor

    def __init__(self, codes: int, width: int, decay: float = 0.99, restarts: bool = True):
        super().__init__()
        self.decay = decay
        self.restarts = restarts
        self.register_buffer("codebook", torch.randn(codes, width))
        self.register_buffer("ema_cluster_size", torch.zeros(codes))
        self.register_buffer("ema_cluster_sum", torch.zeros(codes, width))

    def forward(self, z: Tensor, update_codebook: bool = True) -> tuple[Tensor, Tensor]:
        with torch.autocast(z.device.type, enabled=False):
            rows = z.detach().float().flatten(0, -2)
            error, codes = compute_distances(rows, self.codebook).min(1)
            vectors = F.embedding(codes, self.codebook)
            if update_codebook and self.training:
                self.ema_update(rows, error, codes)
        return vectors.view(z.shape), codes.view(z.shape[:-1])

    def ema_update(self, rows: Tensor, error: Tensor, codes: Tensor) -> None:
        """Update the codebook from vectors (N, D), their nearest codes (N,) and squared distances (N,).

        Args:
            rows: vectors (N, D).
            error: squared distance of each vector to its code (N,).
            codes: nearest code of each vector (N,).
        """
        assignment = F.one_hot(codes, len(self.ema_cluster_size)).to(rows.dtype)
        self.ema_cluster_size.lerp_(assignment.mean(0), 1 - self.decay)
        self.ema_cluster_sum.lerp_(assignment.T @ rows / len(rows), 1 - self.decay)
        if self.restarts:
            is_reset, index = self.reset_dead_codes(rows, error)
            # Set to the mean usage; with zero usage the next batch would move them again.
            usage = 1 / len(self.ema_cluster_size)
            self.ema_cluster_size.copy_(torch.where(is_reset, usage, self.ema_cluster_size))
            self.ema_cluster_sum.copy_(torch.where(is_reset[:, None], usage * rows[index], self.ema_cluster_sum))
        used = self.ema_cluster_size[:, None]
        self.codebook.copy_(torch.where(used > MIN_CODE_USAGE, self.ema_cluster_sum / used, self.codebook))

    def reset_dead_codes(self, rows: Tensor, error: Tensor) -> tuple[Tensor, Tensor]:
        """Choose the codes to reset and the rows that replace them.

        Args:
            rows: vectors (N, D).
            error: squared distance of each row to its code (N,).

        Returns:
            Mask of the codes to reset (K,), and the row index for each code (K,).
        """
        count, mass = len(self.ema_cluster_size), cumulative_sum(error, 0)
        # searchsorted accepts non-finite values, which are left to the NaN guard to report.
        index = torch.searchsorted(mass, mass[-1] * torch.rand(count, device=mass.device)).clamp(max=len(rows) - 1)
        # The candidate itself is excluded, since its error always falls to zero.
        candidate = index[:1]
        gains = (error - (rows - rows[candidate]).square().sum(1)).clamp(min=0)
        gain = (gains.sum() - gains[candidate]) / len(rows)
        # Vectors of a removed code move to its nearest other code.
        separation = compute_distances(self.codebook, self.codebook).fill_diagonal_(torch.inf).amin(1)
        loss, least = (self.ema_cluster_size / self.ema_cluster_size.sum() * separation).min(0)
        is_replaced = (torch.arange(count, device=mass.device) == least) & (loss < gain)
        is_dead = self.ema_cluster_size < DEAD_CODE_THRESHOLD / count
        return is_dead | is_replaced, torch.where(is_replaced, candidate, index)


def compute_distances(rows: Tensor, codebook: Tensor) -> Tensor:
    """Compute squared distances (N, K) between rows (N, D) and codes (K, D).

    Args:
        rows: vectors (N, D).
        codebook: codes (K, D).
    """
    cross = torch.addmm(codebook.square().sum(1), rows, codebook.T, alpha=-2)
    return (cross + rows.square().sum(1, keepdim=True)).clamp(min=0)


def straight_through(z: Tensor, vectors: Tensor) -> Tensor:
    """Return the value of ``vectors`` with the gradient of ``z`` (straight-through estimator).

    Args:
        z: encoder output, which receives the gradient.
        vectors: quantized vectors of the same shape.

    References:
        Bengio et al. 2013, Estimating or Propagating Gradients Through Stochastic Neurons
    """
    return z + (vectors - z).detach()
