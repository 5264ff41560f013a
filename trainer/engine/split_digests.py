"""Digests of the rows of each split, for data whose files are unknown and for data that several processes load."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from itertools import chain

import torch
from torch import Tensor

from trainer.core.dataset import Dataset
from trainer.core.preprocessing import SPLITS
from trainer.core.split import Split, TensorSplit
from trainer.utils import digests

NOUNS = dict(zip(SPLITS, ("training", "validation", "test"), strict=True))
CHUNK_BYTES = 1 << 26
"""Bytes of rows that are gathered at a time."""
MAX_CHUNK_ROWS = 1024
"""Maximum rows that are gathered at a time: they are padded to the longest of them."""
MAX_BYTES = 1 << 30
"""Bytes from which only some rows of a split are read: windows of a series may be many times its size."""
NUM_SAMPLED_ROWS = 8
"""Rows that are read of a split that is not in memory, the first and the last one among them."""


def digest_splits(data: Dataset) -> dict[str, str]:
    """Return a digest of the rows of each split, as they are before the first epoch.

    All rows count of a split in memory of up to ``MAX_BYTES``; of larger ones and of those that are read row by row,
    rows at even distances do.

    Args:
        data: The data set.
    """
    return {name: _digest_split(getattr(data, name)) for name in SPLITS}


def find_differences(saved: Mapping[str, str], current: Mapping[str, str]) -> list[str]:
    """Return the nouns of the splits whose digests differ.

    Args:
        saved: Digests of one data set.
        current: Digests of another one.
    """
    return [noun for name, noun in NOUNS.items() if saved.get(name) != current.get(name)]


def digest_rows(split: Split, max_rows: int) -> list[bytes]:
    """Return a digest of the inputs and the target of each row: equal ones are duplicates.

    Args:
        split: The split.
        max_rows: Number of rows, the first ones, from which on none is read.

    Returns:
        A digest for each row; none if rows share inputs, as the nodes of a graph do.
    """
    count = min(len(split), max_rows)
    if not count:
        return []
    batch = split.batch(torch.arange(count), 0)
    values = [*batch.inputs.values(), *([] if batch.target is None else [batch.target])]
    if not values or any(value.layout != torch.strided or not value.dim() or len(value) != count for value in values):
        return []
    parts = [value.cpu().contiguous().view(torch.uint8).reshape(count, -1).numpy() for value in values]
    return [
        hashlib.blake2b(b"".join(part[row].tobytes() for part in parts), digest_size=12).digest()
        for row in range(count)
    ]


def _digest_split(split: Split) -> str:
    return digests.digest_values(chain([len(split), split.get_targets()], _read_rows(split)))


def _read_rows(split: Split) -> Iterator[Tensor]:
    """Yield tensors with the rows of a split."""
    if not len(split):
        return
    num_bytes = split.count_bytes()
    first_row_bytes = sum(value.nbytes for value in _gather_row_tensors(split, torch.zeros(1, dtype=torch.long)))
    # Rows may be of different lengths, and overlap in memory.
    row_bytes = max(1, first_row_bytes, (num_bytes or 0) // len(split))
    count = NUM_SAMPLED_ROWS if num_bytes is None else max(NUM_SAMPLED_ROWS, MAX_BYTES // row_bytes)
    if isinstance(split, TensorSplit) and num_bytes is not None and num_bytes <= MAX_BYTES:
        yield from split.inputs.values()
        count = NUM_SAMPLED_ROWS
    rows = torch.arange(len(split))
    if len(rows) > count:
        rows = torch.linspace(0, len(split) - 1, count, dtype=torch.float64).long()
    for index in rows.split(min(MAX_CHUNK_ROWS, max(1, CHUNK_BYTES // row_bytes))):
        yield from _gather_row_tensors(split, index)


def _gather_row_tensors(split: Split, index: Tensor) -> list[Tensor]:
    batch = split.batch(index, 0)
    values = [value for value in (*batch.inputs.values(), batch.target, batch.output_index) if value is not None]
    return [part for value in values for part in _list_strided_parts(value)]


def _list_strided_parts(value: Tensor) -> list[Tensor]:
    """Return the indices and values of a sparse tensor."""
    if value.layout == torch.strided:
        return [value]
    coalesced = value.to_sparse_coo().coalesce()
    return [torch.tensor(value.shape), coalesced.indices(), coalesced.values()]
