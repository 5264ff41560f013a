"""Preprocessing that a data set learns from its training rows: plain values, stored with a run and used ever after.

A data set asks for each value by name and says how it is learned. In training it is learned and stored; for a stored
run the stored one is given back, whatever the files hold by then. So there is one path of encoding, for training,
evaluation and everything after.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.utils.errors import ConfigError

log = logging.getLogger(__name__)

VERSION = 2
"""Of the layout of the stored values. In the first, rows of a table were known by their cells as they were written,
and those of a series or a text by their number."""
SPLITS = ("train", "val", "test")


class RowKeys(NamedTuple):
    """A key (N,) int64 for each row by its content, and the number (N,) of the first row with the same content.

    source: what was taken for the content.
    """

    keys: Tensor
    first: Tensor
    source: str = "content"


class Preprocessing:
    """Values learned from training rows, by name: numbers, text, lists, mappings of these, and tensors.

    Args:
        stored: the values of a run that was trained before; None learns them anew.
        version: of their layout.
    """

    def __init__(self, stored: Mapping[str, Any] | None = None, version: int = VERSION):
        self.is_stored = stored is not None
        self.version = version
        self.values: dict[str, Any] = dict(stored or {})

    def get_or_fit(self, name: str, fit: Callable[[], Any]) -> Any:
        """The stored value of a name; in training, what ``fit`` learns, which is stored.

        Raises ConfigError for a stored run that lacks it.
        """
        if not self.is_stored:
            assert name not in self.values, f"{name} is learned twice"
            self.values[name] = fit()
        elif name not in self.values:
            raise ConfigError(f"this run stores no {name!r} of its data: it was saved by another version")
        return self.values[name]

    def split_rows(
        self,
        rows: RowKeys,
        make_split: Callable[[], Sequence[Tensor | np.ndarray]],
        usable_rows: np.ndarray | None = None,
    ) -> list[Tensor]:
        """The rows of training, validation and test, each (n,) int64.

        A stored run knows its rows again by their keys, wherever they stand by now. A copy of one is in its split;
        others are test rows: no weight depends on them, where the key is the content. ``usable_rows`` are the rows
        that may be in a split, or all.

        Raises ConfigError where none of the rows that were trained on, validated or tested is left.
        """
        if not self.is_stored:
            parts = [torch.as_tensor(part) for part in make_split()]
            self.values["split"] = {name: rows.keys[part] for name, part in zip(SPLITS, parts, strict=True)}
            return parts
        keys, first = rows.keys.tolist(), rows.first.tolist()
        row_by_key = {keys[row]: row for row in (range(len(keys)) if usable_rows is None else usable_rows.tolist())}
        split_rows, num_missing = [], 0
        for name in SPLITS:
            stored = self.values["split"][name].tolist()
            split_rows.append([row_by_key.pop(key) for key in stored if key in row_by_key])
            num_missing += len(stored) - len(split_rows[-1])
        split_by_row = {row: split_index for split_index, part in enumerate(split_rows) for row in part}
        copies = [row for row in sorted(row_by_key.values()) if first[row] in split_by_row]
        new_rows = sorted({*row_by_key.values()} - {*copies})
        for row in copies:
            split_rows[split_by_row[first[row]]].append(row)
        split_rows[-1] += new_rows
        counts = {
            "of this run are gone": num_missing,
            "that are copies are in the split of the original": len(copies),
            f"that this run does not know by their {rows.source} are test rows": len(new_rows),
        }
        if any(counts.values()):
            log.warning(
                "rows: %s", "; ".join(f"{count:,} {description}" for description, count in counts.items() if count)
            )
        parts = [torch.tensor(part, dtype=torch.long) for part in split_rows]
        empty = next((name for name, part in zip(SPLITS, parts, strict=True) if not len(part)), None)
        if empty is not None:
            raise ConfigError(f"data: none of the {empty} rows of this run is left in the data")
        self.values["split"] = {name: rows.keys[part] for name, part in zip(SPLITS, parts, strict=True)}
        return parts


def make_content_keys(contents: Iterable[str | bytes]) -> RowKeys:
    """A key for each row by its content; equal rows are told apart by how often they came before."""
    num_seen: Counter[bytes] = Counter()
    first_rows: dict[bytes, int] = {}
    keys, first = [], []
    for row, content in enumerate(contents):
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        occurrence = num_seen[digest]
        num_seen[digest] += 1
        key = hashlib.blake2b(digest + occurrence.to_bytes(8, "big"), digest_size=8).digest()
        keys.append(int.from_bytes(key, "big", signed=True))
        first.append(first_rows.setdefault(digest, row))
    return RowKeys(torch.tensor(keys, dtype=torch.long), torch.tensor(first, dtype=torch.long))
