"""Weights of classes in a loss."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.split import Split

ROWS_PER_READ = 64
"""Rows that are read at once to count target maps."""


def make_class_weights(weights: str | Sequence[float] | None, num_classes: int) -> Tensor | None:
    """Return the configured weights (C,); ones for ``balanced`` until the training rows are counted; None for none.

    Args:
        weights: ``balanced``, the weight of each class, or None.
        num_classes: Number of classes C.

    Raises:
        ValueError: There is not one weight per class, or all are 0.
    """
    if weights is None:
        return None
    if isinstance(weights, str):
        return torch.ones(num_classes)
    if len(weights) != num_classes:
        raise ValueError(
            f"class_weights: {len(weights)} weights given; it must be balanced, null, or one weight for each of the"
            f" {num_classes} classes"
        )
    if not any(weights):
        raise ValueError(f"class_weights: {list(weights)} given; at least one must be above 0")
    return torch.tensor(list(weights), dtype=torch.float32)


def count_classes(split: Split, num_classes: int) -> Tensor:
    """Return the number of targets of each class (C,); ignored and invalid ones do not count.

    Args:
        split: Rows with targets (N, ...).
        num_classes: Number of classes C.
    """
    counts = torch.zeros(num_classes, dtype=torch.long)
    for target in _iter_targets(split):
        is_valid = (target >= 0) & (target < num_classes)
        counts += target[is_valid].long().bincount(minlength=num_classes).cpu()
    return counts


def _iter_targets(split: Split) -> Iterator[Tensor]:
    """Yield the targets of a split, in parts."""
    targets = split.get_targets()
    if targets is not None and not has_target_maps(split):
        yield targets
        return
    # get_targets may replace target maps by their distinct values, which cannot be counted.
    for index in torch.arange(len(split)).split(ROWS_PER_READ):
        yield split.to_model_inputs(split.batch(index, 0)).require_target()


def has_target_maps(split: Split) -> bool:
    """Return whether the targets of a split are maps (N, H, W), such as segmentation masks."""
    target = split.to_model_inputs(split.batch(torch.zeros(1, dtype=torch.long), 0)).target
    return target is not None and target.dim() > 2


def balance_class_weights(counts: Tensor) -> Tensor:
    """Return weights (C,) with which every class that occurs has the same total weight.

    They are ``N / (K n_c)`` for N rows of K classes that occur, n_c rows of class c, as ``balanced`` in scikit-learn;
    0 for a class that does not occur.

    Args:
        counts: Number of rows of each class (C,).
    """
    is_present = counts > 0
    weights = counts.sum().double() / (is_present.sum() * counts).clamp(min=1)
    return weights.where(is_present, 0.0).float()


def sum_target_weights(target: Tensor, class_weights: Tensor) -> Tensor:
    """Return the sum of the weights of all targets that are not ``IGNORE_INDEX``.

    Args:
        target: Class indices (B, ...).
        class_weights: Weight of each class (C,).
    """
    return class_weights[target.clamp(min=0)].where(target != IGNORE_INDEX, 0.0).sum()
