"""Index lookup: return the symbol at a given position of a sequence."""

from __future__ import annotations

import torch

from trainer.core import rng
from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError


class IndexLookup(Dataset):
    """Sequence of random symbols and a final token that indexes one of them.

    The class is the symbol at that index, so the model needs positional information: for a permutation-invariant model
    the most frequent symbol is the best guess. Token ids are the symbols, then the indices.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        length: Number of symbols before the index token.
        symbols: Number of distinct symbols (classes), at least 2.
        seed: Random seed of the data.

    Raises:
        DataError: Fewer than two symbols.
    """

    shapes = "x (B, S) -> (B)"

    def __init__(
        self, rows: PositiveInt = 10000, length: PositiveInt = 12, symbols: PositiveInt = 8, seed: NonNegativeInt = 0
    ):
        if symbols < 2:
            raise DataError(f"symbols: {symbols} given; at least 2 symbols are needed")
        random = rng.make_generator(seed)
        sequence = torch.randint(symbols, (rows, length), generator=random)
        index = torch.randint(length, (rows, 1), generator=random)
        x = torch.cat((sequence, symbols + index), 1)
        self.train, self.val, self.test = split_by_order({"x": x}, sequence.gather(1, index).squeeze(1))
        self.info = DatasetInfo(
            sizes={
                "vocab_size": symbols + length,
                "seq_len": length + 1,
                **class_sizes(symbols),
            },
            baseline=baselines.majority_class(self.train, self.test, symbols),
            best_possible={"accuracy": 1.0, "nll": 0.0},
        )
