"""Encoding of table columns as feature matrices, with missing-value handling and row splits."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

import numpy as np
import torch

from trainer.core import rng
from trainer.core.dataset import Split
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.preprocessing import SPLITS
from trainer.data.encoding import column_checks, column_encoding
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE
from trainer.data.encoding.targets import EncodedTarget, Target
from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import Table
from trainer.data.reference import baselines
from trainer.data.splits.splitting import SPLIT_NAMES, split_by_order, stratified_order
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean

TargetKind = Literal["class", "number"]
MIN_CATEGORY_COVERAGE = 0.1
"""Text columns whose categories cover a smaller fraction of rows hold identifiers or prose."""
MAX_PROBLEMS = 20
"""Maximum number of columns listed in one error."""

log = logging.getLogger(__name__)

Rows = list[np.ndarray]
"""Row indices of the training, validation and test split."""


def choose_target_kind(asked: TargetKind | None, of_task: TargetKind | None) -> TargetKind:
    """Return the kind of a target: as the user says, or else as the task does.

    Raises:
        DataError: Neither says it.
    """
    kind = asked or of_task
    if kind is None:
        raise DataError("target_kind: the task does not say what it learns; set it to class or number")
    return kind


def read_columns(table: Table, reading: CellFormat, places: Set[int], texts: Set[int]) -> dict[int, np.ndarray]:
    """Parse the columns at ``places`` as numbers or texts; those in ``texts`` are always texts."""
    return {
        place: reading.parse_texts(table.columns[place])
        if place in texts
        else reading.parse_column(table.columns[place])
        for place in sorted(places)
    }


def find_unfit_columns(
    table: Table,
    values: Mapping[int, np.ndarray],
    reading: CellFormat,
    texts: Set[int],
    max_categories: int,
    min_count: int,
) -> dict[int, str]:
    """Return the problems of columns that cannot be features, by position.

    See ``describe_unfit_column``; texts that rarely repeat are also unfit. Columns in ``texts`` are categorical
    whatever they hold.
    """
    found = {}
    for place, column in values.items():
        problem = column_checks.describe_unfit_column(table, place, column, reading, is_chosen=place in texts)
        if problem is None and not column_encoding.is_number(column):
            fitted = column_encoding.fit(table.names[place], column, max_categories, min_count)
            problem = _describe_free_text(table, place, fitted, column)
        if problem is not None:
            found[place] = problem
    return found


def select_complete_rows(
    table: Table,
    values: Mapping[int, np.ndarray],
    reading: CellFormat,
    nan: str,
    answer: Target | None,
    *,
    may_drop: bool = True,
    problems: Mapping[int, str] | None = None,
    is_stored: bool = False,
) -> np.ndarray:
    """Return the indices of the rows to use: all, or with ``nan=drop`` those without missing or non-numeric cells.

    Args:
        answer: Target that every row must have.
        may_drop: Whether rows can be dropped; otherwise ``drop`` fills.
        problems: Other problems of columns, by position.
        is_stored: Whether the table is read for a saved run, which drops rows with an unknown target.

    Raises:
        DataError: All ``problems``, and file, row, column and count of invalid cells that are not dropped or filled.
    """
    if is_stored and answer is not None:
        used = select_complete_rows(table, values, reading, nan, None, may_drop=may_drop)
        return used[answer.known_mask[used]]
    good = {place: np.isfinite(v) if column_encoding.is_number(v) else v != "" for place, v in values.items()}
    found, advice = dict(problems or {}), []
    drops = nan == "drop" and may_drop
    if answer is not None and not answer.known_mask.all() and not drops:
        found[answer.column] = describe_bad_cell(table, answer.column, answer.known_mask, reading)
        advice = ["data.nan=drop drops these rows"] if may_drop else []
        word = table.columns[answer.column][int(np.argmin(answer.known_mask))]
        if answer.names and word:
            advice += [f"remove {text_file.quote_cell(word)} from data.missing to use it as a class"]
    numbers = [p for p, v in values.items() if column_encoding.is_number(v) and not good[p].all() and p not in found]
    if nan == "error" and numbers:
        found |= {place: describe_bad_cell(table, place, good[place], reading) for place in numbers}
        advice += ["data.nan=drop drops these rows"] if may_drop and not advice else []
        advice += ["data.nan=fill imputes the mean and adds an indicator column"]
        written = [place for place in numbers if np.isinf(values[place]).any()]
        if written:
            advice += [f"data.categorical={table.column_keys(written)} reads numbers as categories"]
    no_features = [place for place in sorted(problems or {}) if place in values]
    if len(no_features) > 1:
        advice += [f"data.drop_columns={table.column_keys(no_features)} drops all {len(no_features)} unusable columns"]
    if found:
        raise DataError(
            *join_problems([found[place] for place in sorted(found)]), *(["; ".join(advice)] if advice else [])
        )
    for place in numbers:
        warn_about_unparsed_cells(table, place, values[place], "the row is dropped" if drops else "the mean is imputed")
    if not drops:
        return np.arange(len(table))
    used = np.logical_and.reduce([*good.values(), *([] if answer is None else [answer.known_mask])])
    if not used.any():
        raise DataError(f"data.nan=drop leaves no row of {table.path}: every row has a missing value")
    return np.flatnonzero(used)


def warn_about_unparsed_cells(table: Table, place: int, values: np.ndarray, then: str) -> None:
    """Log the non-numeric, non-missing cells of a numeric column."""
    texts = np.isinf(values)
    if texts.any():
        row, count = int(np.argmax(texts)), int(texts.sum())
        cell = text_file.quote_cell(table.columns[place][row])
        log.warning("%s: %s is not a number; %s (%d such cells)", table.describe_cell(row, place), cell, then, count)


def join_problems(problems: Sequence[str]) -> list[str]:
    """Return the first problems, one per column, and the number of omitted ones."""
    more = len(problems) - MAX_PROBLEMS
    return [*problems[:MAX_PROBLEMS], *([f"and {more} more columns"] if more > 0 else [])]


def describe_bad_cell(table: Table, place: int, good: np.ndarray, reading: CellFormat) -> str:
    """Describe the first invalid cell of a column and the number of invalid cells."""
    row, count = int(np.argmin(good)), int((~good).sum())
    found = reading.describe_non_number(table.columns[place][row])
    return f"{table.describe_cell(row, place)}: {found}; {count} such cell{'s' * (count > 1)} in the column"


def describe_outlier_cell(table: Table, place: int, far: np.ndarray) -> str:
    """Describe the first outlier of a column relative to the training rows."""
    row, count = int(np.argmax(far)), int(far.sum())
    cell = text_file.quote_cell(table.columns[place][row])
    return (
        f"{table.describe_cell(row, place)}: {cell} is more than {MAX_STANDARDIZED_VALUE:g} standard deviations from"
        f" the mean of the training rows, {count} such cell{'s' * (count > 1)}; if it encodes a missing value, add it"
        " to data.missing"
    )


def read_split_column(table: Table, place: int, option: str, *, empty: bool = False) -> np.ndarray:
    """Return the split of each row, (N,) in 0..2, from a column; -1 for an empty cell if ``empty`` allows it.

    Raises:
        DataError: Unknown split; the message names ``option``.
    """
    cells = [cell.lower() for cell in table.columns[place]]
    split_index = SPLIT_NAMES | ({"": -1} if empty else {})
    invalid = next((row for row, cell in enumerate(cells) if cell not in split_index), None)
    if invalid is not None:
        cell = text_file.quote_cell(table.columns[place][invalid])
        raise DataError(
            f"{option}: {table.describe_cell(invalid, place)}: {cell} is not a split; it must be"
            f" train, val or test{did_you_mean(cells[invalid], SPLIT_NAMES)}"
        )
    return np.array([split_index[cell] for cell in cells])


def split_rows(group: np.ndarray, used: np.ndarray, answer: Target | None, val: float, test: float, seed: int) -> Rows:
    """Return the rows of each split; those not assigned by file or column are split by fractions, stratified by class.

    Raises:
        DataError: A split is empty.
    """
    rows = [used[group[used] == which] for which in range(3)]
    unassigned = torch.from_numpy(rows[0])
    if answer is not None and answer.names:
        order = stratified_order(torch.from_numpy(answer.values[rows[0]]), seed)
    else:
        order = rng.make_permutation(len(unassigned), seed, 0)
    cuts = split_by_order({"row": unassigned}, None, order, 0.0 if len(rows[1]) else val, 0.0 if len(rows[2]) else test)
    first, *others = (part.inputs["row"].numpy() for part in cuts)
    rows = [first, *(np.concatenate(pair) for pair in zip(others, rows[1:], strict=True))]
    empty = [name for name, part in zip(SPLITS, rows, strict=True) if not len(part)]
    if empty:
        raise DataError(f"the {empty[0]} split is empty (0 of {len(used)} rows)")
    return rows


def fit(
    table: Table, values: Mapping[int, np.ndarray], train: np.ndarray, max_categories: int, min_count: int
) -> dict[int, Column]:
    """Fit the encoding of each column on the training rows.

    Raises:
        DataError: A text column rarely repeats its values, or numbers are far outside of the training range.
    """
    fitted = {
        place: column_encoding.fit(table.names[place], v[train], max_categories, min_count)
        for place, v in values.items()
    }
    problems = []
    for place, column in fitted.items():
        if column["kind"] == "category":
            problem = _describe_free_text(table, place, column, values[place][train])
            problems += [] if problem is None else [problem]
        elif (far := column_encoding.outlier_mask(column, values[place])).any():
            problems.append(describe_outlier_cell(table, place, far))
    if problems:
        raise DataError(*join_problems(problems))
    return fitted


def _describe_free_text(table: Table, place: int, column: Column, values: np.ndarray) -> str | None:
    """Describe a text column whose values rarely repeat; None for others."""
    if column_encoding.category_coverage(column, values) >= MIN_CATEGORY_COVERAGE:
        return None
    return (
        f"{table.path}: texts in {table.names[place]!r} rarely repeat, so they are not categories;"
        f" data.drop_columns={table.column_keys([place])} drops the column"
    )


def encode(columns: Mapping[int, Column], values: Mapping[int, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Encode the given rows as features (N, F) float32."""
    return np.concatenate(
        [column_encoding.encode(column, values[place][rows]) for place, column in columns.items()], axis=1
    )


def make_info(
    answer: Target | None,
    learned: EncodedTarget | None,
    train: Split,
    test: Split,
    sizes: Mapping[str, Any],
    reading: Sequence[str] = (),
) -> DatasetInfo:
    """Return the data set info of a table: ``sizes``, those of the target column if any, and column summaries."""
    if answer is None or learned is None:
        return DatasetInfo(sizes=sizes, file_summary=reading)
    return DatasetInfo(
        sizes={**sizes, **learned.sizes},
        baseline=baselines.majority_class(train, test, len(answer.names))
        if answer.names
        else baselines.mean_prediction(train, test, learned.scale),
        class_names=answer.names,
        file_summary=reading,
        target=TargetInfo(scale=learned.scale, mean=learned.schema.get("mean")),
    )
