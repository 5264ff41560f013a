"""Batches of rows of unequal length."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

BATCH_SIZE = 64
"""Rows that are padded to one length."""


def pad_rows(rows: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    """Return rows (T, ...) as ``x`` (B, T, ...), padded with zeros, and the ``lengths`` (B) of the rows.

    Args:
        rows: Rows of at least one step.
    """
    lengths = np.array([len(row) for row in rows], np.int64)
    x = np.zeros((len(rows), lengths.max(), *rows[0].shape[1:]), rows[0].dtype)
    for padded, row in zip(x, rows, strict=True):
        padded[: len(row)] = row
    return {"x": x, "lengths": lengths}
