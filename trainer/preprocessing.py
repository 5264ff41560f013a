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
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.errors import ConfigError

log = logging.getLogger(__name__)

VERSION = 1
"""Of the layout of the stored values."""
SPLITS = ("train", "val", "test")


class Preprocessing:
    """Values learned from training rows, by name: numbers, text, lists, mappings of these, and tensors.

    Args:
        stored: the values of a run that was trained before; None learns them anew.
    """

    def __init__(self, stored: Mapping[str, Any] | None = None):
        self.is_stored = stored is not None
        self.values: dict[str, Any] = dict(stored or {})

    def learn(self, name: str, function: Callable[[], Any]) -> Any:
        """The stored value of a name; in training, what ``function`` learns, which is stored.

        Raises ConfigError for a stored run that lacks it.
        """
        if not self.is_stored:
            assert name not in self.values, f"{name} is learned twice"
            self.values[name] = function()
        elif name not in self.values:
            raise ConfigError(f"this run stores no {name!r} of its data: it was saved by another version")
        return self.values[name]

    def split(
        self, keys: Tensor, divide: Callable[[], Sequence[Tensor | np.ndarray]], usable: np.ndarray | None = None
    ) -> list[Tensor]:
        """The rows of training, validation and test, each (n,) int64.

        A stored run knows its rows again by their ``keys`` (N,), wherever they stand by now; rows that it never read
        are test rows, because no weight depends on them. ``usable`` are the rows that may be in a split, or all.

        Raises ConfigError where none of the rows that were trained on, validated or tested is left.
        """
        if not self.is_stored:
            parts = [torch.as_tensor(part) for part in divide()]
            self.values["split"] = {name: keys[part] for name, part in zip(SPLITS, parts, strict=True)}
            return parts
        numbers = keys.tolist()
        place = {numbers[row]: row for row in (range(len(numbers)) if usable is None else usable.tolist())}
        parts, gone = [], 0
        for name in SPLITS:
            stored = self.values["split"][name].tolist()
            parts.append(torch.tensor([place.pop(key) for key in stored if key in place], dtype=torch.long))
            gone += len(stored) - len(parts[-1])
        if gone or place:
            told = ((gone, "of this run are gone"), (len(place), "that were never read are test rows"))
            log.warning("rows: %s", "; ".join(f"{count:,} {what}" for count, what in told if count))
        parts[-1] = torch.cat((parts[-1], torch.tensor(sorted(place.values()), dtype=torch.long)))
        empty = next((name for name, part in zip(SPLITS, parts, strict=True) if not len(part)), None)
        if empty is not None:
            raise ConfigError(f"data: none of the {empty} rows of this run is left in the data")
        return parts


def content_keys(contents: Iterable[str | bytes]) -> Tensor:
    """A key (N,) int64 for each row by its content; equal rows are told apart by how often they came before."""
    before: Counter[bytes] = Counter()
    keys = []
    for content in contents:
        raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape")
        digest = hashlib.blake2b(raw, digest_size=16).digest()
        place = before[digest]
        before[digest] += 1
        key = hashlib.blake2b(digest + place.to_bytes(8, "big"), digest_size=8).digest()
        keys.append(int.from_bytes(key, "big", signed=True))
    return torch.tensor(keys, dtype=torch.long)
