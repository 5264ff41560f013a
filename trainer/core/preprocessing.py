"""Preprocessing fitted on training rows: plain values, saved with a run and reused for every later encoding.

A data set requests each value by name, with the function that fits it. In training the function is called and its value
is stored; for a saved run the stored value is returned, even if the files have changed since. Training, evaluation and
inference therefore share one path of encoding.
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
from trainer.utils.text import join_names

log = logging.getLogger(__name__)

VERSION = 2
"""Version of the layout of stored values. Version 1 identified the rows of a table by the raw text of their cells, and
those of a series or a text by their number.
"""
SPLITS = ("train", "val", "test")
FORMER_NAMES = {"tokenizer": "codec", "target_tokenizer": "target_codec", "boundary_contexts": "before_ends"}
"""Names that values had in checkpoints before version 5, by their current ones."""


class RowKeys(NamedTuple):
    """Keys that identify rows by their content.

    Attributes:
        keys: Key (N,) int64 of each row, unique even among equal rows.
        first: Number (N,) of the first row with the same content.
        source: What a row is identified by, for messages.
    """

    keys: Tensor
    first: Tensor
    source: str = "content"


class Preprocessing:
    """Values fitted on training rows, by name: numbers, text, lists, mappings of these, and tensors.

    Args:
        saved_values: Values of a saved run; None fits them.
        version: Version of their layout.
        reusable: Values of another run, used in place of fitting where the columns are the same.

    Attributes:
        reused: Names of the reusable values that were used.
        rejections: Why other reusable values were not, by name.
    """

    def __init__(
        self,
        saved_values: Mapping[str, Any] | None = None,
        version: int = VERSION,
        *,
        reusable: Mapping[str, Any] | None = None,
    ):
        self.is_stored = saved_values is not None
        self.version = version
        self.values: dict[str, Any] = dict(saved_values or {})
        self.reusable = _with_current_names(reusable or {})
        self.reused: list[str] = []
        self.rejections: dict[str, str] = {}

    def get_or_fit(self, name: str, fit: Callable[[], Any], find_mismatch: Callable[[Any], str] = lambda _: "") -> Any:
        """Return the stored value of a name or, in training, reuse or fit it and store it.

        Args:
            name: Unique name of the value.
            fit: Function that computes it from the training rows.
            find_mismatch: Function that describes why a value of another run does not suit this data; empty if it does.

        Raises:
            ConfigError: The saved run has no such value.
        """
        if not self.is_stored:
            assert name not in self.values, f"{name} is fitted twice"
            reusable = self.find_reusable(name, find_mismatch)
            self.values[name] = fit() if reusable is None else reusable
        return self.get(name)

    def find_reusable(self, name: str, find_mismatch: Callable[[Any], str]) -> Any:
        """Return the value of another run, which is then reused; None if there is none or it does not suit this data.

        Args:
            name: Name of the value.
            find_mismatch: Function that describes why it does not suit this data; empty if it does.
        """
        value = self.reusable.get(name)
        mismatch = "" if value is None else find_mismatch(value)
        if value is None or mismatch:
            self.rejections |= {name: mismatch} if mismatch else {}
            return None
        if name not in self.reused:
            self.reused.append(name)
        return value

    def copy(self) -> Preprocessing:
        """Return the same values as those of a saved run."""
        return Preprocessing(self.values, self.version)

    def get(self, name: str) -> Any:
        """Return the value of a name; one that was stored by a former name gets the current one.

        Raises:
            ConfigError: The saved run has no such value.
        """
        former_name = FORMER_NAMES.get(name)
        if name not in self.values and former_name in self.values:
            self.values[name] = self.values.pop(former_name)
        if name not in self.values:
            raise ConfigError(f"this run stores no {name!r} of its data: it was saved by another version")
        return self.values[name]

    def split_rows(
        self,
        rows: RowKeys,
        make_split: Callable[[], Sequence[Tensor | np.ndarray]],
        usable_rows: np.ndarray | None = None,
    ) -> list[Tensor]:
        """Return the row numbers of the training, validation and test split, each (n,) int64.

        A saved run finds its rows by their keys, wherever they are in the file now. Copies of a row are assigned to its
        split, and all other rows to the test split, because no weight depends on them (if keys depend on the content).

        Args:
            rows: Keys of all rows.
            make_split: Function that makes the three splits in training.
            usable_rows: Numbers of the rows that may be in a split; None for all.

        Raises:
            ConfigError: A split of the saved run has no rows left.
        """
        if not self.is_stored:
            parts = [torch.as_tensor(part) for part in make_split()]
        else:
            parts = self._find_saved_split(rows, usable_rows)
        self.values["split"] = {name: rows.keys[part] for name, part in zip(SPLITS, parts, strict=True)}
        return parts

    def _find_saved_split(self, rows: RowKeys, usable_rows: np.ndarray | None) -> list[Tensor]:
        keys, first = rows.keys.tolist(), rows.first.tolist()
        row_by_key = {keys[row]: row for row in (range(len(keys)) if usable_rows is None else usable_rows.tolist())}
        split_rows, num_missing = [], 0
        for name in SPLITS:
            saved_keys = self.values["split"][name].tolist()
            split_rows.append([row_by_key.pop(key) for key in saved_keys if key in row_by_key])
            num_missing += len(saved_keys) - len(split_rows[-1])
        split_by_row = {row: split_index for split_index, part in enumerate(split_rows) for row in part}
        remaining = sorted(row_by_key.values())
        copies = [row for row in remaining if first[row] in split_by_row]
        new_rows = [row for row in remaining if first[row] not in split_by_row]
        for row in copies:
            split_rows[split_by_row[first[row]]].append(row)
        split_rows[-1] += new_rows
        counts = {
            "of this run are missing": num_missing,
            "copies are in the split of the original": len(copies),
            f"new (by {rows.source}), added to the test rows": len(new_rows),
        }
        changes = [f"{count:,} {description}" for description, count in counts.items() if count]
        if changes:
            log.warning("rows: %s", "; ".join(changes))
        for name, part in zip(SPLITS, split_rows, strict=True):
            if not part:
                raise ConfigError(f"data: none of the {name} rows of this run is left in the data")
        return [torch.tensor(part, dtype=torch.long) for part in split_rows]


def describe_new_names(names: Iterable[str], known_names: Iterable[str]) -> str:
    """Describe the names that the vocabulary of another run does not have; empty if it has all.

    Args:
        names: Names in this data.
        known_names: Names of the other run.
    """
    new_names = sorted({*names} - {*known_names})
    return f"new: {join_names(new_names, 5)}" if new_names else ""


def _with_current_names(values: Mapping[str, Any]) -> dict[str, Any]:
    current_names = {former: name for name, former in FORMER_NAMES.items()}
    return {current_names.get(name, name): value for name, value in values.items()}


def make_content_keys(contents: Iterable[str | bytes]) -> RowKeys:
    """Return a key for each row, hashed from its content and the number of equal rows before it."""
    counts: Counter[bytes] = Counter()
    first_rows: dict[bytes, int] = {}
    keys, first = [], []
    for row, content in enumerate(contents):
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        occurrence = counts[digest]
        counts[digest] += 1
        key = hashlib.blake2b(digest + occurrence.to_bytes(8, "big"), digest_size=8).digest()
        keys.append(int.from_bytes(key, "big", signed=True))
        first.append(first_rows.setdefault(digest, row))
    return RowKeys(torch.tensor(keys, dtype=torch.long), torch.tensor(first, dtype=torch.long))
