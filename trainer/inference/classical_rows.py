"""Rows of a split as a matrix of features with targets, for models that take no tensors of other shapes."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.split import Split

MAX_NUMBERS = 4_000_000
"""Largest number of features of all rows together; of more rows, a sample is drawn."""
SAMPLE_SEED = 0
CHUNK_ROWS = 256
ROW_INPUT = "x"
"""Name of the input with a row for each output where a batch has others as well, such as all nodes of a graph."""


def get_features(batch: Batch) -> Tensor | None:
    """Return the real inputs of a batch as features (K, F) of its K targets; None if they are not of this kind.

    Args:
        batch: The rows.
    """
    rows = 0 if batch.target is None else len(batch.target)
    if batch.output_index is not None:
        nodes = batch.inputs.get(ROW_INPUT)
        values = [] if nodes is None else [nodes.index_select(0, batch.output_index)]
    else:
        values = [value for value in batch.inputs.values() if value.is_floating_point()]
    is_suitable = all(value.is_floating_point() and value.ndim >= 2 and len(value) == rows for value in values)
    return torch.cat([value.reshape(rows, -1) for value in values], 1) if values and is_suitable else None


def has_one_target_per_row(batch: Batch) -> bool:
    """Return whether each target is a class or some numbers, not a map or a sequence of classes."""
    target = batch.target
    return target is not None and (target.is_floating_point() or target.ndim == 1)


def is_table(batch: Batch) -> bool:
    """Return whether the inputs are columns of a table: neither series, images nor a graph."""
    return batch.output_index is None and all(value.ndim == 2 for value in batch.inputs.values())


def take_rows(split: Split, index: Tensor) -> Batch:
    """Return rows of a split as model inputs, without augmentation.

    Args:
        split: The split.
        index: Numbers (B,) of the rows.
    """
    return split.to_model_inputs(split.batch(index, 0))


def collect_rows(split: Split) -> tuple[Tensor, Tensor] | None:
    """Return features (N, F) and targets (N, ...) of a split, a sample of it if it is large.

    Args:
        split: The split.

    Returns:
        The rows with a target, on the CPU; None if they are not of a fixed size, or have no features.
    """
    first = take_rows(split, torch.zeros(1, dtype=torch.long))
    features = get_features(first)
    if features is None or not features.shape[1] or not has_one_target_per_row(first):
        return None
    count = max(1, min(len(split), MAX_NUMBERS // features.shape[1]))
    order = rng.make_permutation(len(split), SAMPLE_SEED, 0)[:count].sort().values
    batches = [take_rows(split, index) for index in order.split(CHUNK_ROWS)]
    collected = [get_features(batch) for batch in batches]
    parts = [part for part in collected if part is not None and part.shape[1] == features.shape[1]]
    if len(parts) < len(batches):  # series of several lengths
        return None
    inputs, target = torch.cat(parts), torch.cat([batch.require_target() for batch in batches])
    is_labeled = target != IGNORE_INDEX if not target.is_floating_point() else slice(None)
    return inputs[is_labeled].double().cpu(), target[is_labeled].cpu()
