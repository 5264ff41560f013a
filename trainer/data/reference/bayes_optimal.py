"""Bayes-optimal scores, of a known distribution or of the examples drawn from it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.metrics.classification import average_precision, roc_auc

MOON_ENDS = ((-2.0, 3.0), (-1.5, 2.0))
"""Range of the grid for two moons, (x, y); the arcs are within (-1, 2) and (-.5, 1)."""


def logistic_optimum(scale: float) -> dict[str, float]:
    """Compute Bayes accuracy and NLL of ``y ~ Bernoulli(sigmoid(scale z))`` with z standard normal, by quadrature."""
    z = torch.linspace(-10, 10, 200001, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2)
    return _scores(torch.sigmoid(scale * z), weight / weight.sum())


def flip_optimum(flips: float) -> dict[str, float]:
    """Compute Bayes accuracy and NLL of two separable classes with label noise of rate ``flips``."""
    return _scores(torch.tensor([flips], dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def moons_optimum(noise: float, cells: int = 400, points: int = 400) -> dict[str, float]:
    """Compute Bayes accuracy and NLL of two moons with Gaussian noise, on a grid of ``cells`` by ``cells``.

    A class density is the mean of ``points`` isotropic Gaussians along its arc; they factorize in x and y, so the grid
    is one matrix product.

    Args:
        noise: Standard deviation of the noise.
        cells: Number of grid cells along each axis.
        points: Number of points along each arc.
    """
    angle = (torch.arange(points, dtype=torch.float64) + 0.5) * (math.pi / points)
    margin = 6 * noise
    axes = [torch.linspace(low - margin, high + margin, cells, dtype=torch.float64) for low, high in MOON_ENDS]
    first, second = (_density(axes, moon_points(angle, side), noise) for side in (0, 1))
    total = first + second
    return _scores((second / total.clamp_min(1e-300)).flatten(), (total / total.sum()).flatten())


def moon_points(angle: Tensor, side: Tensor | int) -> Tensor:
    """Return points (N, 2) of the upper arc (side 0) or the lower, shifted one (side 1) at angles in [0, pi].

    Args:
        angle: Angles in radians, (N,).
        side: 0 for the upper arc, 1 for the lower one.
    """
    sign = 1 - 2 * torch.as_tensor(side)
    shift = torch.as_tensor(side)
    return torch.stack((sign * angle.cos() + shift, sign * angle.sin() + 0.5 * shift), dim=1)


def log_odds_optimum(log_odds: Tensor, labels: Tensor) -> dict[str, float]:
    """Compute the scores of the true log-odds (P,) on the outcomes (P,) of 0 and 1.

    Args:
        log_odds: Log-odds of a positive outcome, (P,).
        labels: Outcomes, 0 or 1, (P,).
    """
    log_odds, is_positive = log_odds.double(), labels == 1
    return {
        "auc": roc_auc(log_odds, is_positive),
        "average_precision": average_precision(log_odds, is_positive),
        "accuracy": float(((log_odds > 0) == is_positive).double().mean()),
        "nll": float(F.binary_cross_entropy_with_logits(log_odds, labels.double())),
    }


def _density(axes: list[Tensor], centers: Tensor, noise: float) -> Tensor:
    kernels = [torch.exp(-((axis[:, None] - centers[:, i]) / noise).square() / 2) for i, axis in enumerate(axes)]
    return kernels[0] @ kernels[1].T


def _scores(p: Tensor, weight: Tensor) -> dict[str, float]:
    """Compute the Bayes scores where the second class has probability ``p``, averaged with ``weight``."""
    entropy = F.binary_cross_entropy(p, p, reduction="none")
    return {"accuracy": float((weight * torch.maximum(p, 1 - p)).sum()), "nll": float((weight * entropy).sum())}
