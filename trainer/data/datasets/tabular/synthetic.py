"""Synthetic tables with a known Bayes-optimal score."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt, Probability
from trainer.data.encoding import number_rows, table_schema
from trainer.data.encoding.table_schema import Schema
from trainer.data.reference import baselines
from trainer.data.reference.bayes_optimal import flip_optimum, logistic_optimum, moon_points, moons_optimum
from trainer.data.splits.splitting import split_by_order


class _NumberTable(Dataset):
    """Table of numbers that are used as they are."""

    def encode_rows(self, rows: Any) -> TensorSplit:
        return number_rows.encode(rows, self._make_schema())

    def row_schema(self) -> dict[str, Any]:
        return table_schema.describe_row(self._make_schema())

    def _make_schema(self) -> Schema:
        width = self.info.sizes["in_features"]
        return number_rows.make_schema([0.0] * width, [1.0] * width)


class SyntheticTabular(_NumberTable):
    """Linear binary classification with logistic label noise.

    ``y ~ Bernoulli(sigmoid(scale w.x))`` with x standard normal and |w| = 1. Logistic regression is the correct model;
    a larger model must find the same hyperplane.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        in_features: Number of features F.
        scale: Scale of the log-odds.
        seed: Random seed of the data.
    """

    shapes = "x (B, F) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 10000,
        in_features: PositiveInt = 20,
        scale: PositiveFloat = 5.0,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        direction = torch.randn(in_features, generator=random)
        direction /= direction.norm()
        x = torch.randn(rows, in_features, generator=random)
        y = torch.rand(rows, generator=random) < torch.sigmoid(scale * (x @ direction))
        self.train, self.val, self.test = split_by_order({"x": x}, y.long())
        self.info = _make_info(self.train, self.test, logistic_optimum(scale))


class XOR(_NumberTable):
    """XOR of the signs of two features, with label noise.

    ``y = [x_0 x_1 > 0]`` with x standard normal and labels flipped with probability ``flips``. No single feature is
    informative, so a linear model scores at chance.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        in_features: Number of features F; only the first two are informative.
        flips: Probability of a flipped label.
        seed: Random seed of the data.
    """

    shapes = "x (B, F) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 14000,
        in_features: PositiveInt = 20,
        flips: Probability = 0.05,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        x = torch.randn(rows, in_features, generator=random)
        flipped = torch.rand(rows, generator=random) < flips
        y = (x[:, 0] * x[:, min(1, in_features - 1)] > 0) ^ flipped
        self.train, self.val, self.test = split_by_order({"x": x}, y.long())
        self.info = _make_info(self.train, self.test, flip_optimum(flips))


class Moons(_NumberTable):
    """Two interleaving half circles with Gaussian noise, which are not linearly separable.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        noise: Standard deviation of the noise.
        seed: Random seed of the data.
    """

    shapes = "x (B, F) -> (B)"

    def __init__(self, rows: PositiveInt = 10000, noise: PositiveFloat = 0.2, seed: NonNegativeInt = 0):
        random = rng.make_generator(seed)
        y = (torch.rand(rows, generator=random) < 0.5).long()
        arc = moon_points(math.pi * torch.rand(rows, generator=random), y)
        x: Tensor = arc + noise * torch.randn(rows, 2, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, y)
        self.info = _make_info(self.train, self.test, moons_optimum(noise))


def _make_info(train: TensorSplit, test: TensorSplit, best: dict[str, float]) -> DatasetInfo:
    width = train.inputs["x"].shape[1]
    return DatasetInfo(
        sizes={"in_features": width, "flat_features": width, "num_classes": 2, "out_features": 1},
        baseline=baselines.majority_class(train, test, 2),
        best_possible=best,
    )
