"""Sequences made on the spot, whose best possible score is known."""

from __future__ import annotations

import torch

from trainer import seeding
from trainer.data import baselines
from trainer.data.base import Data, Facts
from trainer.data.splits import cut
from trainer.types import NonNegativeInt, PositiveFloat, PositiveInt


class SyntheticSeq(Data):
    """x (B, T, F) -> (B)

    ``z = sum_t a.x_t / sqrt(T)`` with x normal and |a| = 1, ``y ~ Bernoulli(sigmoid(scale z))``. Every step counts the
    same, so a model that reads only the last one cannot do well.
    """

    def __init__(
        self,
        rows: PositiveInt,
        length: PositiveInt,
        in_features: PositiveInt,
        scale: PositiveFloat,
        seed: NonNegativeInt,
    ):
        random = seeding.generator(seed)
        direction = torch.randn(in_features, generator=random)
        direction /= direction.norm()
        x = torch.randn(rows, length, in_features, generator=random)
        z = (x @ direction).sum(1) / length**0.5
        y = (torch.rand(rows, generator=random) < torch.sigmoid(scale * z)).long()
        self.train, self.val, self.test = cut({"x": x}, y)
        best_accuracy, best_nll = logistic_optimum(scale)
        self.facts = Facts(
            sizes={
                "in_features": in_features,
                "seq_len": length,
                "flat_features": length * in_features,
                "num_classes": 2,
                "out_features": 1,
            },
            baseline=baselines.majority(self.train, self.test, 2),
            best_possible={"accuracy": best_accuracy, "nll": best_nll},
        )


def logistic_optimum(scale: float) -> tuple[float, float]:
    """Bayes accuracy and nll of ``y ~ Bernoulli(sigmoid(scale z))`` with z standard normal, by quadrature."""
    z = torch.linspace(-10, 10, 200001, dtype=torch.float64)
    weight = torch.exp(-z.square() / 2)
    weight /= weight.sum()
    p = torch.sigmoid(scale * z)
    entropy = torch.nn.functional.binary_cross_entropy(p, p, reduction="none")
    return float((weight * torch.maximum(p, 1 - p)).sum()), float((weight * entropy).sum())
