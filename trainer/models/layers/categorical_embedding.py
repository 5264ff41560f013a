"""Whole-number codes in columns (kinds of atoms, numbers of bonds) as vectors."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.utils.text import format_dtype


class CategoricalEmbedding(nn.Module):
    """x (N, K) int64 -> (N, W)

    The sum of one learned vector for each column's code, which is a linear layer on the codes one-hot.

    Raises ValueError for numbers that are no codes of ``cardinalities`` (how many codes each column has, from 0).
    """

    ends: Tensor
    first: Tensor

    def __init__(self, cardinalities: Sequence[int], width: int):
        super().__init__()
        self.cardinalities = list(cardinalities)
        self.table = nn.Embedding(sum(cardinalities), width)
        nn.init.normal_(self.table.weight, std=len(self.cardinalities) ** -0.5)  # so that the sum has a spread of 1
        ends = torch.tensor(self.cardinalities).cumsum(0)
        self.register_buffer("ends", ends, persistent=False)
        self.register_buffer("first", ends - torch.tensor(self.cardinalities), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        self._validate_codes(x)
        return F.embedding_bag(x + self.first, self.table.weight, mode="sum")

    def _validate_codes(self, x: Tensor) -> None:
        columns = len(self.cardinalities)
        if x.dtype != torch.long or x.shape[1:] != (columns,):
            kind = format_dtype(x.dtype)
            raise ValueError(f"x: expected whole-number codes in {columns} columns, found {kind} {tuple(x.shape)}")
        outside = (x < 0) | (x + self.first >= self.ends)
        if outside.any():
            row, column = outside.nonzero()[0].tolist()
            most, found = self.cardinalities[column] - 1, int(x[row, column])
            raise ValueError(f"x: codes of column {column} are 0..{most}; row {row} has {found}")
