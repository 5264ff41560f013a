"""Frechet distance between features of generated and real rows (FID)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.metrics.double_precision import to_double


def frechet_distance(generated: Tensor, real: Tensor) -> float:
    """Return the Frechet distance of Gaussians fitted to features of generated and real rows.

    ``|m - m'|^2 + tr(S + S' - 2 (S S')^(1/2))``

    Args:
        generated: Features ``(N, D)``.
        real: Features ``(M, D)``.

    Returns:
        The distance; NaN if N or M is below 2.

    References:
        Heusel et al., "GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium", NeurIPS
            2017.
    """
    if min(len(generated), len(real)) < 2:
        return math.nan
    generated_double, real_double = to_double(generated), to_double(real)
    cov_generated, cov_real = generated_double.T.cov(), real_double.T.cov()
    values, vectors = torch.linalg.eigh(cov_generated.reshape(generated.shape[1], -1))
    cov_sqrt = vectors * values.clamp(min=0).sqrt() @ vectors.T
    trace_sqrt = torch.linalg.eigvalsh(cov_sqrt @ cov_real.reshape(cov_sqrt.shape) @ cov_sqrt).clamp(min=0).sqrt().sum()
    mean_distance = (generated_double.mean(0) - real_double.mean(0)).square().sum()
    return float(
        mean_distance
        + cov_generated.reshape(cov_sqrt.shape).trace()
        + cov_real.reshape(cov_sqrt.shape).trace()
        - 2 * trace_sqrt
    )
