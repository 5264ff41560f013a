"""Synthetic sequences with a known Bayes-optimal score."""

from __future__ import annotations

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.reference import baselines
from trainer.data.reference.bayes_optimal import logistic_optimum
from trainer.data.splits.splitting import split_by_order


class SyntheticSeq(Dataset):
    """Binary classification of the sum of projections over all steps.

    ``z = sum_t a.x_t / sqrt(T)`` with x standard normal and |a| = 1, ``y ~ Bernoulli(sigmoid(scale z))``. All steps
    have equal weight, so a model that uses only the last one scores poorly.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        length: Sequence length T.
        in_features: Number of features F per step.
        scale: Scale of the log-odds.
        seed: Random seed of the data.
    """

    shapes = "x (B, T, F) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 10000,
        length: PositiveInt = 10,
        in_features: PositiveInt = 20,
        scale: PositiveFloat = 5.0,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        direction = torch.randn(in_features, generator=random)
        direction /= direction.norm()
        x = torch.randn(rows, length, in_features, generator=random)
        z = (x @ direction).sum(1) / length**0.5
        y = (torch.rand(rows, generator=random) < torch.sigmoid(scale * z)).long()
        self.train, self.val, self.test = split_by_order({"x": x}, y)
        self.info = DatasetInfo(
            sizes={
                "in_features": in_features,
                "seq_len": length,
                "flat_features": length * in_features,
                "num_classes": 2,
                "out_features": 1,
            },
            baseline=baselines.majority_class(self.train, self.test, 2),
            best_possible=logistic_optimum(scale),
        )
