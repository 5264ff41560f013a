"""Any table in a delimited text file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from trainer.data.base import Data, TensorSplit
from trainer.data.parts import rows, tables, targets
from trainer.data.parts.features import Column, Reading
from trainer.data.parts.tables import Table
from trainer.data.parts.targets import Learned, Target
from trainer.errors import ConfigError
from trainer.types import Fraction, NonNegativeInt, PositiveInt


class CSV(Data):
    """x (B, F) -> (B, ...)

    One column is the target, a class (B) or a number (B, 1). The others are features: numbers are standardised and
    categories one-hot, by what the training rows hold. ``schema`` keeps how, as plain values, so that new rows can be
    encoded alike: names of all columns, the target, the feature columns, what counts as a gap.
    """

    def __init__(
        self,
        path: str,
        target: str | int,
        target_kind: str,
        test_path: str | None,
        delimiter: str | None,
        header: Literal["auto"] | bool,
        encoding: str,
        decimal: Literal["point", "comma"],
        missing: list[str],
        nan: Literal["error", "drop", "fill"],
        categorical: list[str | int],
        drop_columns: list[str | int],
        split_column: str | int | None,
        val: Fraction,
        test: Fraction,
        max_categories: PositiveInt,
        min_count: PositiveInt,
        seed: NonNegativeInt,
    ):
        read = partial(tables.read, delimiter=delimiter, header=header, encoding=encoding, expected=target)
        table = own = read(path, "data.path")
        if test_path is not None:
            table = own.followed_by(read(test_path, "data.test_path"))
        reading = Reading(frozenset(text.lower() for text in missing), decimal == "comma")
        places = _places(table, target, split_column, drop_columns, categorical)
        values = rows.values_of(table, reading, places.features, places.texts)
        kind = rows.kind_of(target_kind)
        answer = targets.read(table, places.target, reading, kind, certain=target_kind == "class")
        whole = rows.whole(table, values, reading, nan, answer)
        parts = rows.split(_groups(table, len(own), places.split, test_path), whole, answer, val, test, seed)
        learned = targets.learn(answer, parts[0])
        columns = rows.fit(table, values, parts[0], max_categories, min_count)

        self.train, self.val, self.test = (
            TensorSplit(
                {"x": torch.from_numpy(rows.encode(columns, values, part))}, learned.values[torch.from_numpy(part)]
            )
            for part in parts
        )
        width = self.train.inputs["x"].shape[1]
        self.schema = _schema(answer, learned, columns, reading)
        self.facts = rows.facts(answer, learned, self.train, self.test, {"in_features": width, "flat_features": width})


class _Places(NamedTuple):
    """What the columns of a table are for; texts: those of the features that are categories whatever they hold."""

    target: int
    split: int | None
    features: Set[int]
    texts: Set[int]


def _places(
    table: Table,
    target: str | int,
    split_column: str | int | None,
    drop_columns: Collection[str | int],
    categorical: Collection[str | int],
) -> _Places:
    """Raises ConfigError for a column that is not there, or that is to be two things."""
    at = table.find(target, "data.target")
    split_at = None if split_column is None else table.find(split_column, "data.split_column")
    dropped = {table.find(key, "data.drop_columns") for key in drop_columns}
    if at == split_at or {at, split_at} & dropped:
        raise ConfigError("data.target, data.split_column and data.drop_columns: one column is named twice")
    texts = {table.find(key, "data.categorical") for key in categorical}
    left = set(range(len(table.names))) - dropped - {at, split_at}
    if not left:
        raise ConfigError(f"data.path: {table.path} has no column left to learn from")
    return _Places(at, split_at, left, texts)


def _groups(table: Table, own: int, place: int | None, test_path: str | None) -> np.ndarray:
    """The split of each row, (N,), 0 to 2: as a column says, or by its file, of which the first has ``own`` rows."""
    if place is None:
        return np.repeat([0, 2], [own, len(table) - own])
    if test_path is not None:
        raise ConfigError("data.split_column and data.test_path both say which rows are for testing; give one")
    return rows.groups_of(table, place, "data.split_column")


def _schema(answer: Target, learned: Learned, columns: Mapping[int, Column], reading: Reading) -> dict[str, Any]:
    names = answer.table.names
    return {
        "names": list(names),
        "target": {"index": answer.at, "name": names[answer.at], **learned.schema},
        "columns": [{"index": place, **column} for place, column in columns.items()],
        "missing": sorted(reading.gaps),
        "decimal": "comma" if reading.comma else "point",
    }
