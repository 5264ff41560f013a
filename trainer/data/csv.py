"""Any table in a delimited text file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Set
from functools import partial
from typing import Any, Literal, NamedTuple

import numpy as np
import torch

from trainer import seeding
from trainer.data.base import Data, Facts, TensorSplit
from trainer.data.parts import baselines, features, tables, targets
from trainer.data.parts.features import Column, Reading
from trainer.data.parts.splits import cut, stratified
from trainer.data.parts.tables import Table
from trainer.data.parts.targets import Learned, Target
from trainer.errors import ConfigError, did_you_mean
from trainer.types import Fraction, NonNegativeInt, PositiveInt

LEARNT = {"Classification": "class", "Regression": "number"}
"""The kind of target that a task's class learns."""
NAMES = ("train", "val", "test")
SPLITS = {
    **dict.fromkeys(("train", "training"), 0),
    **dict.fromkeys(("val", "valid", "validation", "dev"), 1),
    **dict.fromkeys(("test", "testing"), 2),
}
LEAST_NAMED = 0.1
"""A column of texts whose categories name a smaller share of rows holds identifiers or prose."""
MOST_PROBLEMS = 6
"""How many columns one error lists."""

Rows = list[np.ndarray]
"""Row numbers of the training, validation and test split."""


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
        kind = _kind(target_kind)
        read = partial(tables.read, delimiter=delimiter, header=header, encoding=encoding, expected=target)
        table = own = read(path, "data.path")
        if test_path is not None:
            table = own.followed_by(read(test_path, "data.test_path"))
        reading = Reading(frozenset(text.lower() for text in missing), decimal == "comma")
        places = _places(table, target, split_column, drop_columns, categorical)
        values = _values(table, reading, places)
        answer = (
            targets.read_classes(table, places.target, reading, certain=target_kind == "class")
            if kind == "class"
            else targets.read_numbers(table, places.target, reading)
        )
        whole = _whole(answer, values, reading, nan)
        rows = _split(_groups(table, len(own), places.split, test_path), whole, answer, val, test, seed)
        learned = (targets.learn_classes if kind == "class" else targets.learn_numbers)(answer, rows[0])
        columns = _fit(table, values, rows[0], max_categories, min_count)

        self.train, self.val, self.test = (
            TensorSplit({"x": torch.from_numpy(_encode(columns, values, part))}, learned.values[torch.from_numpy(part)])
            for part in rows
        )
        self.schema = _schema(answer, learned, columns, reading)
        self.facts = _facts(answer, learned, self.train, self.test)


def _kind(text: str) -> str:
    """``class`` or ``number``: as said, or as the task's class says."""
    kind = LEARNT.get(text.rpartition(".")[2], text)
    if kind not in LEARNT.values():
        raise ConfigError(f"data.target_kind: {text!r} given; it must be class or number")
    return kind


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
    return _Places(at, split_at, set(range(len(table.names))) - dropped - {at, split_at}, texts)


def _values(table: Table, reading: Reading, places: _Places) -> dict[int, np.ndarray]:
    """Each feature column as numbers or texts, by its place.

    Raises ConfigError for columns that hold nothing, an index, or numbers with a decimal comma.
    """
    values, problems = {}, []
    for place in sorted(places.features):
        cells = table.columns[place]
        column = reading.texts(cells) if place in places.texts else reading.values(cells)
        named = f"{table.path}: column {table.names[place]!r}"
        if all(map(reading.is_gap, set(cells))):
            problems.append(f"{named} is empty; data.drop_columns={table.keys([place])} leaves it out")
        elif table.is_unnamed(place) and features.is_number(column) and np.all(np.diff(column) == 1):
            problems.append(f"{named} has no name and counts the rows; data.drop_columns=[{place}] leaves it out")
        elif place not in places.texts and not features.is_number(column) and reading.has_decimal_commas(cells):
            problems.append(f"{named} holds numbers with a comma, such as {cells[0]!r}; is it data.decimal=comma?")
        values[place] = column
    if problems:
        raise ConfigError(*problems[:MOST_PROBLEMS])
    if not values:
        raise ConfigError(f"data.path: {table.path} has no column left to learn from")
    return values


def _whole(answer: Target, values: Mapping[int, np.ndarray], reading: Reading, nan: str) -> np.ndarray:
    """The numbers of the rows that are used: all, or with ``nan=drop`` those without a gap or a cell that is no number.

    Raises ConfigError with file, row, column and count of such cells where they are not to be dropped or filled.
    """
    table = answer.table
    good = {place: np.isfinite(v) if features.is_number(v) else v != "" for place, v in values.items()}
    if nan == "drop":
        used = np.logical_and.reduce([answer.known, *good.values()])
        if not used.any():
            raise ConfigError(f"data.nan=drop leaves no row of {table.path}: every one has a gap")
        return np.flatnonzero(used)
    numbers = [place for place, v in values.items() if features.is_number(v) and not good[place].all()]
    problems = [] if answer.known.all() else [_bad_cell(table, answer.at, answer.known, reading)]
    advice = "data.nan=drop leaves such rows out"
    if nan == "error" and numbers:
        problems += [_bad_cell(table, place, good[place], reading) for place in numbers]
        advice += "; data.nan=fill puts the mean and adds a column that says so"
        written = [place for place in numbers if np.isinf(values[place]).any()]
        if written:
            advice += f"; data.categorical={table.keys(written)} takes numbers as categories"
    if problems:
        more = [f"and {len(problems) - MOST_PROBLEMS} more columns"] if len(problems) > MOST_PROBLEMS else []
        raise ConfigError(*problems[:MOST_PROBLEMS], *more, advice)
    return np.arange(len(table))


def _bad_cell(table: Table, place: int, good: np.ndarray, reading: Reading) -> str:
    row, count = int(np.argmin(good)), int((~good).sum())
    cell = table.columns[place][row]
    found = f"a gap ({cell!r})" if reading.is_gap(cell) else f"{cell!r} is not a finite number"
    return f"{table.where(row, place)}: {found}; {count} such cell{'s' * (count > 1)} in the column"


def _groups(table: Table, own: int, place: int | None, test_path: str | None) -> np.ndarray:
    """The split of each row, (N,), 0 to 2: as a column says, or by its file, of which the first has ``own`` rows."""
    if place is None:
        return np.repeat([0, 2], [own, len(table) - own])
    if test_path is not None:
        raise ConfigError("data.split_column and data.test_path both say which rows are for testing; give one")
    cells = [cell.lower() for cell in table.columns[place]]
    wrong = next((row for row, cell in enumerate(cells) if cell not in SPLITS), None)
    if wrong is not None:
        raise ConfigError(
            f"data.split_column: {table.where(wrong, place)}: {table.columns[place][wrong]!r} is no split; it must be"
            f" train, val or test{did_you_mean(cells[wrong], SPLITS)}"
        )
    return np.array([SPLITS[cell] for cell in cells])


def _split(group: np.ndarray, used: np.ndarray, answer: Target, val: float, test: float, seed: int) -> Rows:
    """The rows of each split; what no file and no column sets apart is cut off by share, each class in its share.

    Raises ConfigError for a split without rows.
    """
    rows = [used[group[used] == which] for which in range(3)]
    free = torch.from_numpy(rows[0])
    labels = torch.from_numpy(answer.values[rows[0]])
    order = stratified(labels, seed) if answer.names else seeding.permutation(len(free), seed, 0)
    cuts = cut({"row": free}, None, order, 0.0 if len(rows[1]) else val, 0.0 if len(rows[2]) else test)
    first, *others = (part.inputs["row"].numpy() for part in cuts)
    rows = [first, *(np.concatenate(pair) for pair in zip(others, rows[1:], strict=True))]
    empty = [name for name, part in zip(NAMES, rows, strict=True) if not len(part)]
    if empty:
        raise ConfigError(f"data: the {empty[0]} split is empty (0 of {len(used)} rows)")
    return rows


def _fit(
    table: Table, values: Mapping[int, np.ndarray], train: np.ndarray, max_categories: int, min_count: int
) -> dict[int, Column]:
    """How each column is encoded. Raises ConfigError for columns of texts that hardly ever come twice."""
    fitted = {
        place: features.fit(table.names[place], v[train], max_categories, min_count) for place, v in values.items()
    }
    prose = [
        place
        for place, column in fitted.items()
        if column["kind"] == "category" and features.coverage(column, values[place][train]) < LEAST_NAMED
    ]
    if prose:
        listed = ", ".join(repr(table.names[place]) for place in prose[:MOST_PROBLEMS])
        raise ConfigError(
            f"{table.path}: texts in {listed} hardly ever come twice, so they are no categories;"
            f" data.drop_columns={table.keys(prose)} leaves them out"
        )
    return fitted


def _encode(columns: Mapping[int, Column], values: Mapping[int, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Features (N, F) float32 of the given rows."""
    return np.concatenate([features.encode(column, values[place][rows]) for place, column in columns.items()], axis=1)


def _schema(answer: Target, learned: Learned, columns: Mapping[int, Column], reading: Reading) -> dict[str, Any]:
    names = answer.table.names
    return {
        "names": list(names),
        "target": {"index": answer.at, "name": names[answer.at], **learned.schema},
        "columns": [{"index": place, **column} for place, column in columns.items()],
        "missing": sorted(reading.gaps),
        "decimal": "comma" if reading.comma else "point",
    }


def _facts(answer: Target, learned: Learned, train: TensorSplit, test: TensorSplit) -> Facts:
    width = train.inputs["x"].shape[1]
    return Facts(
        sizes={"in_features": width, "flat_features": width, **learned.sizes},
        baseline=baselines.majority(train, test, len(answer.names))
        if answer.names
        else baselines.mean(train, test, learned.scale),
        class_names=answer.names,
        target_scale=learned.scale,
    )
