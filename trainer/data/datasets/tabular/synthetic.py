"""Tables made on the spot, whose best possible score is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Data, Facts, TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from trainer.data.reference import baselines
from trainer.data.reference.bayes_optimal import flip_optimum, logistic_optimum, moon, moons_optimum
from trainer.data.splits.splitting import cut


class SyntheticTabular(Data):
    """``y ~ Bernoulli(sigmoid(scale w.x))`` with x normal and |w| = 1: logistic regression is the right model, and a
    larger one must find the same plane.
    """

    shapes = "x (B, F) -> (B)"

    def __init__(self, rows: PositiveInt, in_features: PositiveInt, scale: PositiveFloat, seed: NonNegativeInt):
        random = rng.generator(seed)
        direction = torch.randn(in_features, generator=random)
        direction /= direction.norm()
        x = torch.randn(rows, in_features, generator=random)
        y = torch.rand(rows, generator=random) < torch.sigmoid(scale * (x @ direction))
        self.train, self.val, self.test = cut({"x": x}, y.long())
        self.facts = _facts(self.train, self.test, logistic_optimum(scale))


class XOR(Data):
    """``y = [x_0 x_1 > 0]``, some labels flipped, x normal. No single number says anything, so a linear model
    guesses."""

    shapes = "x (B, F) -> (B)"

    def __init__(self, rows: PositiveInt, in_features: PositiveInt, flips: Probability, seed: NonNegativeInt):
        random = rng.generator(seed)
        x = torch.randn(rows, in_features, generator=random)
        flipped = torch.rand(rows, generator=random) < flips
        y = (x[:, 0] * x[:, min(1, in_features - 1)] > 0) ^ flipped
        self.train, self.val, self.test = cut({"x": x}, y.long())
        self.facts = _facts(self.train, self.test, flip_optimum(flips))


class Moons(Data):
    """Two half circles that reach into each other, with normal noise. No line parts them."""

    shapes = "x (B, F) -> (B)"

    def __init__(self, rows: PositiveInt, noise: PositiveFloat, seed: NonNegativeInt):
        random = rng.generator(seed)
        y = (torch.rand(rows, generator=random) < 0.5).long()
        arc = moon(math.pi * torch.rand(rows, generator=random), y)
        x: Tensor = arc + noise * torch.randn(rows, 2, generator=random)
        self.train, self.val, self.test = cut({"x": x}, y)
        self.facts = _facts(self.train, self.test, moons_optimum(noise))


def _facts(train: TensorSplit, test: TensorSplit, best: dict[str, float]) -> Facts:
    width = train.inputs["x"].shape[1]
    return Facts(
        sizes={"in_features": width, "flat_features": width, "num_classes": 2, "out_features": 1},
        baseline=baselines.majority(train, test, 2),
        best_possible=best,
    )
