"""Cutting rows into three splits that share none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import TensorSplit

SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("val", "valid", "validation", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
"""How splits are called in files and folders of the user's."""


def split_by_order(
    inputs: Mapping[str, Tensor],
    target: Tensor | None,
    order: Tensor | None = None,
    val: float = 0.2,
    test: float = 0.2,
) -> tuple[TensorSplit, TensorSplit, TensorSplit]:
    """Train, validation and test rows, in the order given (or as they stand).

    ``val`` and ``test`` are shares of all rows.
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
    """An order (N,) of rows such that any run of it holds every class in its share, for ``cut``.

    Row k of the n rows of a class, in random order, stands at (k + 1/2) / n of the whole. A class with a single row
    stands in the middle, which is training with the usual shares.
    """
    order = rng.make_permutation(len(labels), seed, 0)
    shuffled = labels[order]
    places = torch.empty(len(labels), dtype=torch.float64)
    for label in shuffled.unique():
        mine = (shuffled == label).nonzero().squeeze(1)
        places[mine] = (torch.arange(len(mine), dtype=torch.float64) + 0.5) / len(mine)
    return order[places.argsort(stable=True)]


def make_folds(labels: Tensor, count: int, seed: int) -> list[Tensor]:
    """All rows in ``count`` parts that share none, each with every class in its share (Stone 1974; Kohavi 1995)."""
    return list(stratified_order(labels, seed).tensor_split(count))


def split_by_fold(parts: Sequence[Tensor], fold: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows to train on, to validate with and to test on: the part ``fold`` is the test, the next one validates.

    Over all folds every row is tested once.
    """
    val = (fold + 1) % len(parts)
    rest = [part for place, part in enumerate(parts) if place not in (fold, val)]
    return torch.cat(rest), parts[val], parts[fold]
