"""Long-term memory tasks: recall of the first step, both ends, marked steps or all unpadded steps."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from trainer.core import rng
from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError


def _sequence_sizes(x: Tensor, **other_sizes: int) -> dict[str, int]:
    return {"in_features": x.shape[2], "seq_len": x.shape[1], "flat_features": x[0].numel(), **other_sizes}


class FirstPlusLast(Dataset):
    """Regression of the sum of the first and last step.

    ``y = x_1 + x_T`` with x uniform in [0, 1). The mean has an MSE of 1/6, a prediction from one end alone 1/12: the
    latter is all that the last output of a bidirectional network allows.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        length: Sequence length T.
        seed: Random seed of the data.
    """

    shapes = "x (B, T, F) -> (B, K)"

    def __init__(self, rows: PositiveInt = 10000, length: PositiveInt = 40, seed: NonNegativeInt = 0):
        x = torch.rand(rows, length, 1, generator=rng.make_generator(seed))
        self.train, self.val, self.test = split_by_order({"x": x}, x[:, 0] + x[:, -1])
        self.info = DatasetInfo(
            sizes=_sequence_sizes(x, out_features=1),
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible={"mse": 0.0},
        )


class FirstToken(Dataset):
    """Classification of the first of random one-hot tokens, which is marked by its position only.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        length: Sequence length T.
        tokens: Vocabulary size and number of classes.
        seed: Random seed of the data.
    """

    shapes = "x (B, T, F) -> (B)"

    def __init__(
        self, rows: PositiveInt = 10000, length: PositiveInt = 60, tokens: PositiveInt = 8, seed: NonNegativeInt = 0
    ):
        sequence = torch.randint(tokens, (rows, length), generator=rng.make_generator(seed))
        x = functional.one_hot(sequence, tokens).float()
        self.train, self.val, self.test = split_by_order({"x": x}, sequence[:, 0].clone())
        self.info = DatasetInfo(
            sizes=_sequence_sizes(x, **class_sizes(tokens)),
            baseline=baselines.majority_class(self.train, self.test, tokens),
            best_possible={"accuracy": 1.0, "nll": 0.0},
        )


class VarLenSum(Dataset):
    """Sum over the unpadded steps of variable-length sequences.

    ``y = sum_{t <= length} x_t / sqrt(mean length)`` with x standard normal, so y has variance 1. Padding has the
    distribution of real steps, so only a model that masks by ``lengths`` can be correct.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        shortest: Minimum length in steps.
        longest: Maximum length in steps, to which all rows are padded.
        seed: Random seed of the data.
    """

    shapes = "x (B, T, F), lengths (B) -> (B, K)"

    def __init__(
        self, rows: PositiveInt = 10000, shortest: PositiveInt = 3, longest: PositiveInt = 20, seed: NonNegativeInt = 0
    ):
        if shortest > longest:
            raise DataError(f"shortest: {shortest} is more than data.longest, {longest}")
        random = rng.make_generator(seed)
        lengths = torch.randint(shortest, longest + 1, (rows,), generator=random)
        x = torch.randn(rows, longest, 1, generator=random)
        mask = torch.arange(longest) < lengths[:, None]
        y = (x * mask[..., None]).sum(1) / ((shortest + longest) / 2) ** 0.5
        self.train, self.val, self.test = split_by_order({"x": x, "lengths": lengths}, y)
        self.info = DatasetInfo(
            sizes=_sequence_sizes(x, out_features=1),
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible={"mse": 0.0},
        )


class Adding(Dataset):
    """Adding problem: sum of the two marked values of a sequence.

    Each step has a uniform value and a mark; one step is marked in each half. The mean has an MSE of 1/6.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        length: Sequence length T, at least 2.
        seed: Random seed of the data.

    References:
        Hochreiter and Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8), experiment 4.
    """

    shapes = "x (B, T, F) -> (B, K)"

    def __init__(self, rows: PositiveInt = 10000, length: PositiveInt = 30, seed: NonNegativeInt = 0):
        if length < 2:
            raise DataError(f"length: {length} given; two marks need at least 2 steps")
        random = rng.make_generator(seed)
        value, mark, half = torch.rand(rows, length, generator=random), torch.zeros(rows, length), length // 2
        first = torch.randint(half, (rows, 1), generator=random)
        second = torch.randint(half, length, (rows, 1), generator=random)
        mark.scatter_(1, torch.cat((first, second), 1), 1.0)
        x = torch.stack((value, mark), -1)
        self.train, self.val, self.test = split_by_order({"x": x}, (value * mark).sum(1, keepdim=True))
        self.info = DatasetInfo(
            sizes=_sequence_sizes(x, out_features=1),
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible={"mse": 0.0},
        )
