"""Variable-length token sequences labeled by a known rule, per token or per sequence."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.prediction import DecodedPrediction, Prediction
from trainer.core.split import Split
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError


class NeighborSum(Dataset):
    """Token labeling with the sum of both neighbors.

    ``tag_t = x_{t-1} + x_{t+1}`` with uniform tokens 0..V-1; the ends of a row have one neighbor. A causal model is
    correct with probability 1/V, except at the last step of a row.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        shortest: Minimum length in tokens.
        longest: Maximum length in tokens, to which all rows are padded.
        vocab_size: Vocabulary size V; there are 2 V - 1 tags.
        seed: Random seed of the data.
    """

    shapes = "x (B, S), lengths (B) -> (B, T)"

    def __init__(
        self,
        rows: PositiveInt = 5000,
        shortest: PositiveInt = 5,
        longest: PositiveInt = 20,
        vocab_size: PositiveInt = 6,
        seed: NonNegativeInt = 0,
    ):
        x, lengths, _ = _draw_tokens(rows, shortest, longest, vocab_size, seed)
        mask = torch.arange(longest) < lengths[:, None]
        padded = torch.nn.functional.pad(x * mask, (1, 1))  # a missing neighbor counts as token 0
        tags = padded[:, :-2] + padded[:, 2:]
        classes = 2 * vocab_size - 1
        self.train, self.val, self.test = split_by_order(
            {"x": x, "lengths": lengths}, tags.masked_fill(~mask, IGNORE_INDEX)
        )
        self.info = DatasetInfo(
            sizes={"vocab_size": vocab_size, "seq_len": longest, "num_classes": classes},
            baseline=baselines.majority_class(self.train, self.test, classes),
            best_possible={"accuracy": 1.0, "nll": 0.0},
        )

    def decode_prediction(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        # One value for each step of a row: the padding is removed.
        decoded = super().decode_prediction(prediction, split, first)
        lengths = split.batch(torch.arange(len(split)), 0).inputs["lengths"].tolist()
        columns = {
            title: [cells[:length] for cells, length in zip(column, lengths, strict=True)]
            if title in prediction or title.startswith("p_")
            else column
            for title, column in decoded.columns.items()
        }
        return replace(decoded, columns=columns)


class TemporalOrder(Dataset):
    """Temporal order problem with rows of variable length.

    The class is the pair of special tokens in the first and second half of a row: xx, xy, yx or yy. Padding holds
    random tokens. A bag-of-tokens model cannot separate xy from yx and has an accuracy of 3/4.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        shortest: Minimum length in tokens, at least 2.
        longest: Maximum length in tokens, to which all rows are padded.
        vocab_size: Vocabulary size with the two special tokens, at least 3.
        seed: Random seed of the data.

    Raises:
        DataError: Rows too short for two halves.

    References:
        Hochreiter and Schmidhuber 1997, Long Short-Term Memory, Neural Computation 9(8), experiment 6.
    """

    shapes = "x (B, S), lengths (B) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 5000,
        shortest: PositiveInt = 10,
        longest: PositiveInt = 25,
        vocab_size: PositiveInt = 8,
        seed: NonNegativeInt = 0,
    ):
        if shortest < 2 or vocab_size < 3:
            raise DataError(
                "temporal_order needs data.shortest >= 2 and, for two special tokens among others,"
                f" data.vocab_size >= 3; given {shortest} and {vocab_size}"
            )
        x, lengths, random = _draw_tokens(rows, shortest, longest, vocab_size, seed)
        mask = torch.arange(longest) < lengths[:, None]
        x = torch.where(mask, 2 + x % (vocab_size - 2), x)  # 0 and 1 are special
        special = torch.randint(2, (rows, 2), generator=random)
        half = lengths // 2
        first = (torch.rand(rows, generator=random) * half).long()
        second = half + (torch.rand(rows, generator=random) * (lengths - half)).long()
        x.scatter_(1, torch.stack((first, second), 1), special)
        self.train, self.val, self.test = split_by_order(
            {"x": x, "lengths": lengths}, 2 * special[:, 0] + special[:, 1]
        )
        self.info = DatasetInfo(
            sizes={"vocab_size": vocab_size, "seq_len": longest, "num_classes": 4, "out_features": 4},
            baseline=baselines.majority_class(self.train, self.test, 4),
            best_possible={"accuracy": 1.0, "nll": 0.0},
            class_names=("xx", "xy", "yx", "yy"),
        )


def _draw_tokens(
    rows: int, shortest: int, longest: int, vocab_size: int, seed: int
) -> tuple[Tensor, Tensor, torch.Generator]:
    """Draw uniform tokens (N, S), padding included, and uniform lengths (N); also return the generator."""
    if shortest > longest:
        raise DataError(f"shortest: {shortest} is more than data.longest, {longest}")
    random = rng.make_generator(seed)
    lengths = torch.randint(shortest, longest + 1, (rows,), generator=random)
    return torch.randint(vocab_size, (rows, longest), generator=random), lengths, random
