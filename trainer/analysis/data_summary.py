"""What the rows of a data set look like: class balance, missing values, constant columns, rows in several splits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset import Dataset
from trainer.core.preprocessing import SPLITS
from trainer.core.split import Split, TensorSplit
from trainer.engine.split_digests import digest_rows
from trainer.utils.text import join_names

MAX_ROWS = 50_000
"""Rows of a split that are compared with those of the others, the first ones."""
MAX_CLASSES = 1000
RARE_SHARE = 0.01
"""Share of the training rows below which a class is rare."""


def summarize(data: Dataset) -> dict[str, Any]:
    """Summarize a data set.

    Args:
        data: The data set.

    Returns:
        ``rows`` with the number of examples of each split and their noun, and ``lines`` about their contents.
    """
    splits = {name: getattr(data, name) for name in SPLITS}
    rows = {name: list(split.count_examples()) for name, split in splits.items()}
    lines = [*_describe_classes(data.train), *_describe_columns(data), *_describe_missing(splits)]
    return {"rows": rows, "lines": [*lines, *_describe_duplicates(splits)]}


def _describe_classes(train: Split) -> list[str]:
    """Describe the balance of the classes of the training rows, if the targets are classes."""
    target = train.get_targets()
    if target is None or target.is_floating_point() or target.dim() != 1 or not target.numel():
        return []
    target = target[target != IGNORE_INDEX]
    if not target.numel() or int(target.min()) < 0 or int(target.max()) >= MAX_CLASSES:
        return []
    counts = torch.bincount(target.long())
    present = counts[counts > 0]
    shares = present / present.sum()
    absent = f", {int((counts == 0).sum())} without training rows" if len(present) < len(counts) else ""
    rare = f"; {int((shares < RARE_SHARE).sum())} below 1 %" if (shares < RARE_SHARE).any() else ""
    return [f"{len(counts)} classes: {float(shares.min()):.1%} to {float(shares.max()):.1%} of the rows{rare}{absent}"]


def _describe_columns(data: Dataset) -> list[str]:
    """Name the columns of a table that have one value in all training rows."""
    x = _get_table(data.train)
    if x is None or len(x) < 2:
        return []
    constant = (x.amin(0) == x.amax(0)).nonzero()[:, 0].tolist()
    if not constant:
        return []
    names = list(data.get_feature_names(data.fitted.values)) if data.fitted is not None else []
    labels = [names[column] if column < len(names) else str(column) for column in constant]
    return [f"constant columns: {join_names(labels, 5)}"]


def _get_table(split: Split) -> Tensor | None:
    """Return the only input of a split if it is a table (N, F) of numbers."""
    if not isinstance(split, TensorSplit) or len(split.inputs) != 1:
        return None
    (x,) = split.inputs.values()
    return x if x.dim() == 2 and x.is_floating_point() and not x.is_sparse else None


def _describe_missing(splits: Mapping[str, Split]) -> list[str]:
    """Count values that are not numbers among the inputs of each split."""
    parts = []
    for name, split in splits.items():
        values = [x for x in _list_inputs(split) if x.is_floating_point()]
        count = sum(int(x.isnan().sum()) for x in values)
        if count:
            parts.append(f"{count / sum(x.numel() for x in values):.2%} of {name}")
    return [f"missing values (NaN): {', '.join(parts)}"] if parts else []


def _list_inputs(split: Split) -> list[Tensor]:
    if not isinstance(split, TensorSplit):
        return []
    return [x for x in split.inputs.values() if x.layout == torch.strided]


def _describe_duplicates(splits: Mapping[str, Split]) -> list[str]:
    """Count the validation and test rows that are training rows too, with equal inputs and targets."""
    if not all(isinstance(split, TensorSplit) for split in splits.values()):
        return []
    digests = {name: digest_rows(split, MAX_ROWS) for name, split in splits.items()}
    train = digests["train"]
    lines = []
    known = set(train)
    for name in SPLITS[1:]:
        rows = digests[name]
        count = sum(row in known for row in rows)
        if count:
            lines.append(f"{count:,} of {len(rows):,} {name} rows are training rows, too")
    if repeated := len(train) - len(known):
        lines.append(f"{repeated:,} of {len(train):,} training rows repeat another one")
    return lines
