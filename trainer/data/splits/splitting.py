"""Splitting of rows into disjoint training, validation and test splits and folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.split import TensorSplit

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("val", "valid", "validation", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
"""Accepted names of splits in files and folders."""


def split_by_order(
    inputs: Mapping[str, Tensor],
    target: Tensor | None,
    order: Tensor | None = None,
    val: float = 0.2,
    test: float = 0.2,
) -> tuple[TensorSplit, TensorSplit, TensorSplit]:
    """Split rows in the given order (default: as they are) into training, validation and test.

    Args:
        inputs: Input tensors (N, ...).
        target: Targets (N, ...), or None.
        order: Permutation of the rows.
        val: Fraction of rows for validation.
        test: Fraction of rows for test.
    """
    rows = len(next(iter(inputs.values())))
    ends = [0, rows - round(rows * val) - round(rows * test), rows - round(rows * test), rows]

    def part(start: int, end: int) -> TensorSplit:
        index = slice(start, end) if order is None else order[start:end]
        return TensorSplit(
            {name: value[index] for name, value in inputs.items()}, None if target is None else target[index]
        )

    return part(ends[0], ends[1]), part(ends[1], ends[2]), part(ends[2], ends[3])


def stratified_order(labels: Tensor, seed: int) -> Tensor:
    """Return a permutation (N,) in which every contiguous range is stratified by class, for ``split_by_order``.

    Row k of the n rows of a class, in random order, is at relative position (k + 1/2) / n. A class with a single row is
    in the middle, which is in the training split for the usual fractions.

    Args:
        labels: Class of each row, (N,).
        seed: Random seed.
    """
    order = rng.make_permutation(len(labels), seed, 0)
    shuffled = labels[order]
    positions = torch.empty(len(labels), dtype=torch.float64)
    for label in shuffled.unique():
        members = (shuffled == label).nonzero().squeeze(1)
        positions[members] = (torch.arange(len(members), dtype=torch.float64) + 0.5) / len(members)
    return order[positions.argsort(stable=True)]


def make_folds(labels: Tensor, count: int, seed: int) -> list[Tensor]:
    """Split rows into ``count`` stratified folds (Stone 1974; Kohavi 1995).

    Args:
        labels: Class of each row, (N,).
        count: Number of folds.
        seed: Random seed.
    """
    return list(stratified_order(labels, seed).tensor_split(count))


def split_by_fold(parts: Sequence[Tensor], fold: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return training, validation and test rows: ``fold`` is for test, the next one for validation.

    Over all folds every row is a test row once.

    Args:
        parts: Rows of each fold.
        fold: Index of the test fold.
    """
    val = (fold + 1) % len(parts)
    rest = [part for index, part in enumerate(parts) if index not in (fold, val)]
    return torch.cat(rest), parts[val], parts[fold]
