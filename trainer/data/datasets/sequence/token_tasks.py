"""Token sequences to be rewritten by a known rule."""

from __future__ import annotations

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import ConfigError


class Reverse(Dataset):
    """Equally likely tokens, and the same tokens backwards: what is read last is written first, and nothing in the
    target tells its next token. No sequence occurs twice, so a model that knows its training rows by heart knows
    nothing.

    Raises ConfigError where there are not enough distinct sequences.
    """

    shapes = "x (B, S) -> (B, T)"

    def __init__(
        self, rows: PositiveInt = 10000, length: PositiveInt = 8, vocab_size: PositiveInt = 10, seed: NonNegativeInt = 0
    ):
        random = rng.make_generator(seed)
        drawn = torch.randint(vocab_size, (2 * rows, length), generator=random).unique(dim=0)
        if len(drawn) < rows:
            raise ConfigError(
                f"data.rows: {rows} rows, but of {vocab_size}^{length} sequences only {len(drawn)} different ones came"
                " up; take fewer rows, or more data.length or data.vocab_size"
            )
        x = drawn[torch.randperm(len(drawn), generator=random)[:rows]]  # unique() has sorted them
        self.train, self.val, self.test = split_by_order({"x": x}, x.flip(1))
        self.info = DatasetInfo(
            sizes={"source_vocab_size": vocab_size, "vocab_size": vocab_size, "seq_len": length, "horizon": length},
            baseline=baselines.most_frequent_tokens(self.train, self.test),
            best_possible={"token_accuracy": 1.0, "exact_match": 1.0},
        )
