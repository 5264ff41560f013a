"""Embedding of categorical columns (atom types, bond counts)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.utils.text import format_dtype


class CategoricalEmbedding(nn.Module):
    """Sum of one learned embedding per categorical column, equal to a linear layer on the one-hot codes.

    Args:
        cardinalities: number of codes of each column; codes start at 0.
        width: embedding dimension W.

    Shape:
        x: (N, K), int64
        output: (N, W)

    Raises:
        ValueError: codes outside the cardinalities, or not an int64 matrix of K columns.
    """

    offset_ends: Tensor
    offsets: Tensor

    def __init__(self, cardinalities: Sequence[int], width: int):
        super().__init__()
        self.cardinalities = list(cardinalities)
        self.embedding = nn.Embedding(sum(cardinalities), width)
        nn.init.normal_(self.embedding.weight, std=len(self.cardinalities) ** -0.5)  # the sum has unit variance
        ends = torch.tensor(self.cardinalities).cumsum(0)
        self.register_buffer("offset_ends", ends, persistent=False)
        self.register_buffer("offsets", ends - torch.tensor(self.cardinalities), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            return F.embedding(x + self.offsets, self.embedding.weight).sum(1)
        self._validate_codes(x)
        return F.embedding_bag(x + self.offsets, self.embedding.weight, mode="sum")

    def _validate_codes(self, x: Tensor) -> None:
        columns = len(self.cardinalities)
        if x.dtype != torch.long or x.shape[1:] != (columns,):
            kind = format_dtype(x.dtype)
            raise ValueError(f"x: expected whole-number codes in {columns} columns, found {kind} {tuple(x.shape)}")
        is_invalid = (x < 0) | (x + self.offsets >= self.offset_ends)
        # A check of training batches on an accelerator would synchronize; there the indexing kernel fails.
        is_checked = x.device.type == "cpu" or not torch.is_grad_enabled()
        if is_checked and is_invalid.any():
            row, column = is_invalid.nonzero()[0].tolist()
            largest, code = self.cardinalities[column] - 1, int(x[row, column])
            raise ValueError(f"x: codes of column {column} are 0..{largest}; row {row} has {code}")
