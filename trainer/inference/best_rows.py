"""Selection of the rows with the highest probability, such as the best new links."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from trainer.core import prediction
from trainer.core.batch import Batch
from trainer.core.prediction_columns import Column
from trainer.core.split import Split

Predicted = tuple[Mapping[str, Tensor], Split]
"""Predictions of a split by name, and the split."""


class SelectedRows(Split):
    """Rows that were selected from other splits, for the columns that identify them.

    Args:
        columns: Cells (K) of each column, by title.
        length: Number of rows K.
    """

    def __init__(self, columns: Mapping[str, Sequence[Any]], length: int):
        self.columns = columns
        self._length = length

    def __len__(self) -> int:
        return self._length

    def batch(self, index: Tensor, epoch: int) -> Batch:
        raise AssertionError("selected rows are not predicted again")

    def get_output_columns(self, first: int) -> dict[str, Column]:
        return dict(self.columns)


def select_best(predictions: Iterable[Predicted]) -> Iterator[Predicted]:
    """Replace splits with ``top_k`` by their rows of the highest probability, in descending order.

    Rows of splits without groups are compared across all of them, which are never in memory together; groups do not
    extend over several splits.

    Args:
        predictions: Predictions of each split.
    """
    best: Predicted | None = None
    for fields, split in predictions:
        if split.top_k is None:
            yield fields, split
            continue
        groups = split.get_groups()
        selected = _select_rows(fields, split, _find_best(fields, groups, split.top_k))
        if groups is not None:
            yield selected
        else:
            joined = selected if best is None else _join(best, selected)
            best = _select_rows(*joined, _find_best(joined[0], None, split.top_k))
    if best is not None:
        yield best


def _find_best(fields: Mapping[str, Tensor], groups: Tensor | None, top_k: int) -> Tensor:
    """Return the indices of the rows with the highest probability of each group, whose rows are consecutive."""
    probabilities = fields["probabilities"][:, -1]
    sizes = [len(probabilities)] if groups is None else groups.unique_consecutive(return_counts=True)[1].tolist()
    parts, first = [], 0
    for part in probabilities.split(sizes):
        parts.append(first + part.argsort(descending=True, stable=True)[:top_k])
        first += len(part)
    return torch.cat(parts)


def _select_rows(fields: Mapping[str, Tensor], split: Split, index: Tensor) -> Predicted:
    rows = index.tolist()
    columns = {title: [column[row] for row in rows] for title, column in split.get_output_columns(0).items()}
    return {name: values[index] for name, values in fields.items()}, SelectedRows(columns, len(rows))


def _join(one: Predicted, other: Predicted) -> Predicted:
    others = other[1].get_output_columns(0)
    columns = {title: [*cells, *others[title]] for title, cells in one[1].get_output_columns(0).items()}
    return prediction.concatenate([one[0], other[0]]), SelectedRows(columns, len(one[1]) + len(other[1]))
