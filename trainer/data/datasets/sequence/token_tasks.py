"""Sequence-to-sequence tasks with a known rule."""

from __future__ import annotations

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError


class Reverse(Dataset):
    """Reversal of sequences of uniform tokens.

    The previous target tokens carry no information about the next one. All sequences are distinct, so memorizing the
    training rows does not help.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        length: Sequence length in tokens.
        vocab_size: Vocabulary size.
        seed: Random seed of the data.

    Raises:
        DataError: Too few distinct sequences.
    """

    shapes = "x (B, S) -> (B, T)"

    def __init__(
        self, rows: PositiveInt = 10000, length: PositiveInt = 8, vocab_size: PositiveInt = 10, seed: NonNegativeInt = 0
    ):
        random = rng.make_generator(seed)
        sequences = torch.randint(vocab_size, (2 * rows, length), generator=random).unique(dim=0)
        if len(sequences) < rows:
            raise DataError(
                f"rows: {rows} given, but only {len(sequences)} distinct sequences of {vocab_size}^{length} were"
                " drawn; decrease data.rows, or increase data.length or data.vocab_size"
            )
        x = sequences[torch.randperm(len(sequences), generator=random)[:rows]]  # unique() sorts them
        self.train, self.val, self.test = split_by_order({"x": x}, x.flip(1))
        self.info = DatasetInfo(
            sizes={"source_vocab_size": vocab_size, "vocab_size": vocab_size, "seq_len": length, "horizon": length},
            baseline=baselines.most_frequent_tokens(self.train, self.test),
            best_possible={"token_accuracy": 1.0, "exact_match": 1.0},
        )
