"""A list and a place in it: what stands there?"""

from __future__ import annotations

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import ConfigError


class IndexLookup(Dataset):
    """``length`` random symbols and a last token that names one of their places; the class is the symbol there. Only a
    model that knows where its steps stand can tell: seen as a set, the most frequent symbol is the best guess.
    Tokens are the symbols, then the places.

    Raises ConfigError for fewer than two symbols.
    """

    shapes = "x (B, S) -> (B)"

    def __init__(
        self, rows: PositiveInt = 10000, length: PositiveInt = 12, symbols: PositiveInt = 8, seed: NonNegativeInt = 0
    ):
        if symbols < 2:
            raise ConfigError(f"data.symbols: {symbols} symbol leaves nothing to tell; take 2 or more")
        random = rng.make_generator(seed)
        sequence = torch.randint(symbols, (rows, length), generator=random)
        place = torch.randint(length, (rows, 1), generator=random)
        x = torch.cat((sequence, symbols + place), 1)
        self.train, self.val, self.test = split_by_order({"x": x}, sequence.gather(1, place).squeeze(1))
        self.info = DatasetInfo(
            sizes={
                "vocab_size": symbols + length,
                "seq_len": length + 1,
                "num_classes": symbols,
                "out_features": 1 if symbols == 2 else symbols,
            },
            baseline=baselines.majority_class(self.train, self.test, symbols),
            best_possible={"accuracy": 1.0, "nll": 0.0},
        )
