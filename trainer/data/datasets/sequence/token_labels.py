"""Token sequences of differing length whose labels follow a known rule: one for every token, or one for all."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import ConfigError


class NeighborSum(Dataset):
    """``tag_t = x_{t-1} + x_{t+1}`` with equally likely tokens 0..V-1, where a row's ends have one neighbour. Who does
    not see the next token is right once in V, but for the last tag of a row.
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
        real = torch.arange(longest) < lengths[:, None]
        framed = torch.nn.functional.pad(x * real, (1, 1))  # no neighbour counts as token 0
        tags = framed[:, :-2] + framed[:, 2:]
        classes = 2 * vocab_size - 1
        self.train, self.val, self.test = split_by_order(
            {"x": x, "lengths": lengths}, tags.masked_fill(~real, IGNORE_INDEX)
        )
        self.info = DatasetInfo(
            sizes={"vocab_size": vocab_size, "seq_len": longest, "num_classes": classes},
            baseline=baselines.majority_class(self.train, self.test, classes),
            best_possible={"accuracy": 1.0, "nll": 0.0},
        )


class TemporalOrder(Dataset):
    """Which of the two special tokens stands in the first half of a row, and which in the second: xx, xy, yx or yy (the
    temporal order problem of Hochreiter and Schmidhuber 1997, with rows of differing length). Padding holds all kinds
    of tokens. Whoever counts tokens but not their order cannot tell xy from yx and is right three times in four.

    Raises ConfigError for rows too short to have two halves.
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
            raise ConfigError(
                "data: temporal_order needs data.shortest >= 2 and, for two special tokens among others,"
                f" data.vocab_size >= 3; given {shortest} and {vocab_size}"
            )
        x, lengths, random = _draw_tokens(rows, shortest, longest, vocab_size, seed)
        real = torch.arange(longest) < lengths[:, None]
        x = torch.where(real, 2 + x % (vocab_size - 2), x)  # 0 and 1 are special
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
    """Equally likely tokens (N, S), padding included, equally likely lengths (N), and the generator to go on with."""
    if shortest > longest:
        raise ConfigError(f"data.shortest: {shortest} is more than data.longest, {longest}")
    random = rng.make_generator(seed)
    lengths = torch.randint(shortest, longest + 1, (rows,), generator=random)
    return torch.randint(vocab_size, (rows, longest), generator=random), lengths, random
