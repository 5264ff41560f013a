"""Columns of a table as rows of numbers: what gaps do, which row is in which split, how each column is encoded."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import torch

from trainer import contract, seeding
from trainer.data.base import Facts, Split
from trainer.data.parts import baselines, features
from trainer.data.parts.features import Column, Reading
from trainer.data.parts.splits import cut, stratified
from trainer.data.parts.tables import Table
from trainer.data.parts.targets import Learned, Target
from trainer.errors import ConfigError, did_you_mean

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


def kind_of(text: str) -> str:
    """``class`` or ``number``: as said, or as the task's class says, which is a class if it learns no target at all."""
    kind = LEARNT.get(text.rpartition(".")[2], "class" if contract.wants_targets(text) is False else text)
    if kind not in LEARNT.values():
        raise ConfigError(f"data.target_kind: {text!r} given; it must be class or number")
    return kind


def values_of(table: Table, reading: Reading, places: Set[int], texts: Set[int]) -> dict[int, np.ndarray]:
    """The columns at ``places`` as numbers or texts; those in ``texts`` are texts whatever they hold.

    Raises ConfigError for columns that hold nothing, an index, or numbers with a decimal comma.
    """
    values, problems = {}, []
    for place in sorted(places):
        cells = table.columns[place]
        column = reading.texts(cells) if place in texts else reading.values(cells)
        named = f"{table.path}: column {table.names[place]!r}"
        if all(map(reading.is_gap, set(cells))):
            problems.append(f"{named} is empty; data.drop_columns={table.keys([place])} leaves it out")
        elif table.is_unnamed(place) and features.is_number(column) and np.all(np.diff(column) == 1):
            problems.append(f"{named} has no name and counts the rows; data.drop_columns=[{place}] leaves it out")
        elif place not in texts and not features.is_number(column) and reading.has_decimal_commas(cells):
            problems.append(f"{named} holds numbers with a comma, such as {cells[0]!r}; is it data.decimal=comma?")
        values[place] = column
    if problems:
        raise ConfigError(*problems[:MOST_PROBLEMS])
    return values


def whole(
    table: Table,
    values: Mapping[int, np.ndarray],
    reading: Reading,
    nan: str,
    answer: Target | None,
    *,
    may_drop: bool = True,
) -> np.ndarray:
    """The numbers of the rows that are used: all, or with ``nan=drop`` those without a gap or a cell that is no number.

    answer: a target that every row must have. may_drop: whether rows can be left out; if not, ``drop`` fills.

    Raises ConfigError with file, row, column and count of such cells where they are not to be dropped or filled.
    """
    good = {place: np.isfinite(v) if features.is_number(v) else v != "" for place, v in values.items()}
    if nan == "drop" and may_drop:
        used = np.logical_and.reduce([*good.values(), *([] if answer is None else [answer.known])])
        if not used.any():
            raise ConfigError(f"data.nan=drop leaves no row of {table.path}: every one has a gap")
        return np.flatnonzero(used)
    numbers = [place for place, v in values.items() if features.is_number(v) and not good[place].all()]
    problems = [] if answer is None or answer.known.all() else [bad_cell(table, answer.at, answer.known, reading)]
    advice = ["data.nan=drop leaves such rows out"] if may_drop else []
    if nan == "error" and numbers:
        problems += [bad_cell(table, place, good[place], reading) for place in numbers]
        advice += ["data.nan=fill puts the mean and adds a column that says so"]
        written = [place for place in numbers if np.isinf(values[place]).any()]
        if written:
            advice += [f"data.categorical={table.keys(written)} takes numbers as categories"]
    if problems:
        more = [f"and {len(problems) - MOST_PROBLEMS} more columns"] if len(problems) > MOST_PROBLEMS else []
        raise ConfigError(*problems[:MOST_PROBLEMS], *more, "; ".join(advice))
    return np.arange(len(table))


def bad_cell(table: Table, place: int, good: np.ndarray, reading: Reading) -> str:
    """The first cell of a column that is not good, and how many there are."""
    row, count = int(np.argmin(good)), int((~good).sum())
    cell = table.columns[place][row]
    found = f"a gap ({cell!r})" if reading.is_gap(cell) else f"{cell!r} is not a finite number"
    return f"{table.where(row, place)}: {found}; {count} such cell{'s' * (count > 1)} in the column"


def groups_of(table: Table, place: int, option: str, *, empty: bool = False) -> np.ndarray:
    """The split that a column says each row is in, (N,), 0 to 2; -1 for an ``empty`` cell, where there may be some.

    Raises ConfigError, naming ``option``.
    """
    cells = [cell.lower() for cell in table.columns[place]]
    known = SPLITS | ({"": -1} if empty else {})
    wrong = next((row for row, cell in enumerate(cells) if cell not in known), None)
    if wrong is not None:
        raise ConfigError(
            f"{option}: {table.where(wrong, place)}: {table.columns[place][wrong]!r} is no split; it must be"
            f" train, val or test{did_you_mean(cells[wrong], SPLITS)}"
        )
    return np.array([known[cell] for cell in cells])


def split(group: np.ndarray, used: np.ndarray, answer: Target | None, val: float, test: float, seed: int) -> Rows:
    """The rows of each split; what no file and no column sets apart is cut off by share, each class in its share.

    Raises ConfigError for a split without rows.
    """
    rows = [used[group[used] == which] for which in range(3)]
    free = torch.from_numpy(rows[0])
    if answer is not None and answer.names:
        order = stratified(torch.from_numpy(answer.values[rows[0]]), seed)
    else:
        order = seeding.permutation(len(free), seed, 0)
    cuts = cut({"row": free}, None, order, 0.0 if len(rows[1]) else val, 0.0 if len(rows[2]) else test)
    first, *others = (part.inputs["row"].numpy() for part in cuts)
    rows = [first, *(np.concatenate(pair) for pair in zip(others, rows[1:], strict=True))]
    empty = [name for name, part in zip(NAMES, rows, strict=True) if not len(part)]
    if empty:
        raise ConfigError(f"data: the {empty[0]} split is empty (0 of {len(used)} rows)")
    return rows


def fit(
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


def encode(columns: Mapping[int, Column], values: Mapping[int, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Features (N, F) float32 of the given rows."""
    return np.concatenate([features.encode(column, values[place][rows]) for place, column in columns.items()], axis=1)


def facts(answer: Target | None, learned: Learned | None, train: Split, test: Split, sizes: Mapping[str, Any]) -> Facts:
    """What a data set says of a target column, if there is one, and ``sizes`` beside those of it."""
    if answer is None or learned is None:
        return Facts(sizes=sizes)
    return Facts(
        sizes={**sizes, **learned.sizes},
        baseline=baselines.majority(train, test, len(answer.names))
        if answer.names
        else baselines.mean(train, test, learned.scale),
        class_names=answer.names,
        target_scale=learned.scale,
        target_mean=learned.schema.get("mean"),
    )
