"""The best scores nothing can beat on average, over the known distribution or on the very examples drawn from it."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.metrics.classification import average_precision, roc_auc

MOON_ENDS = ((-2.0, 3.0), (-1.5, 2.0))
"""Where the grid for two moons begins and ends, (x, y): the arcs lie within (-1, 2) and (-.5, 1)."""


def logistic_optimum(scale: float) -> dict[str, float]:
    """Bayes accuracy and nll of ``y ~ Bernoulli(sigmoid(scale z))`` with z standard normal, by quadrature."""
    z = torch.linspace(-10, 10, 200001, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2)
    return _scores(torch.sigmoid(scale * z), weight / weight.sum())


def flip_optimum(flips: float) -> dict[str, float]:
    """Bayes accuracy and nll of two equally easy classes of which a share ``flips`` is told wrong."""
    return _scores(torch.tensor([flips], dtype=torch.float64), torch.ones(1, dtype=torch.float64))


def moons_optimum(noise: float, cells: int = 400, points: int = 400) -> dict[str, float]:
    """Bayes accuracy and nll of two moons under normal noise, on a grid of ``cells`` by ``cells``.

    A class density is the mean of ``points`` round Gaussians along its arc, each a product of one in x and one in y,
    so that the whole grid is one matrix product.
    """
    angle = (torch.arange(points, dtype=torch.float64) + 0.5) * (math.pi / points)
    margin = 6 * noise
    axes = [torch.linspace(low - margin, high + margin, cells, dtype=torch.float64) for low, high in MOON_ENDS]
    first, second = (_density(axes, moon_points(angle, side), noise) for side in (0, 1))
    both = first + second
    return _scores((second / both.clamp_min(1e-300)).flatten(), (both / both.sum()).flatten())


def moon_points(angle: Tensor, side: Tensor | int) -> Tensor:
    """Points (N, 2) of the upper arc (side 0) or of the lower, shifted one (side 1) at angles in [0, pi]."""
    sign = 1 - 2 * torch.as_tensor(side)
    shift = torch.as_tensor(side)
    return torch.stack((sign * angle.cos() + shift, sign * angle.sin() + 0.5 * shift), dim=1)


def log_odds_optimum(odds: Tensor, truth: Tensor) -> dict[str, float]:
    """What who knows the true log-odds (P,) of each example scores on how they came out, (P,) of 0 and 1."""
    odds, positive = odds.double(), truth == 1
    return {
        "auc": roc_auc(odds, positive),
        "average_precision": average_precision(odds, positive),
        "accuracy": float(((odds > 0) == positive).double().mean()),
        "nll": float(F.binary_cross_entropy_with_logits(odds, truth.double())),
    }


def _density(axes: list[Tensor], centres: Tensor, noise: float) -> Tensor:
    along = [torch.exp(-((axis[:, None] - centres[:, i]) / noise).square() / 2) for i, axis in enumerate(axes)]
    return along[0] @ along[1].T


def _scores(p: Tensor, weight: Tensor) -> dict[str, float]:
    """Scores of the best guess where the second class has probability ``p``, averaged with ``weight``."""
    entropy = F.binary_cross_entropy(p, p, reduction="none")
    return {"accuracy": float((weight * torch.maximum(p, 1 - p)).sum()), "nll": float((weight * entropy).sum())}
