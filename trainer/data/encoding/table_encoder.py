"""Encoding of table columns as feature matrices, and row splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any, Literal

import numpy as np
import torch

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.preprocessing import SPLITS
from trainer.core.split import Split
from trainer.data.encoding import column_checks, column_encoding
from trainer.data.encoding.cell_messages import describe_outlier_cell, join_problems
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.targets import EncodedTarget, Target
from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.data.reference import baselines
from trainer.data.splits.splitting import SPLIT_NAMES, split_by_order, stratified_order
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean

TargetKind = Literal["class", "number"]

Rows = list[np.ndarray]
"""Row indices of the training, validation and test split."""


def choose_target_kind(requested: TargetKind | None, task_kind: TargetKind | None) -> TargetKind:
    """Return the kind that the user requested, or else the kind that the task learns.

    Args:
        requested: Kind of the option ``target_kind``, if any.
        task_kind: Kind that the task learns, if there is only one.

    Raises:
        DataError: Both are None.
    """
    kind = requested or task_kind
    if kind is None:
        raise DataError("target_kind: the task accepts classes and numbers; set it to class or number")
    return kind


def read_columns(table: Table, cell_format: CellFormat, columns: Set[int], texts: Set[int]) -> dict[int, np.ndarray]:
    """Parse columns as numbers or texts, by position.

    Args:
        table: Table.
        cell_format: Format of the cells.
        columns: Positions of the columns.
        texts: Positions of columns that are read as texts regardless of their cells.
    """
    return {
        index: cell_format.parse_texts(table.columns[index])
        if index in texts
        else cell_format.parse_column(table.columns[index])
        for index in sorted(columns)
    }


def find_unfit_columns(
    table: Table,
    values: Mapping[int, np.ndarray],
    cell_format: CellFormat,
    texts: Set[int],
    max_categories: int,
    min_count: int,
) -> dict[int, str]:
    """Return the problems of columns that cannot be features, by position.

    See ``describe_unfit_column``; texts that rarely repeat are also unfit.

    Args:
        table: Table.
        values: Parsed cells of each column, by position.
        cell_format: Format of the cells.
        texts: Positions of columns that are categorical regardless of their cells.
        max_categories: Maximum number of categories of a column.
        min_count: Minimum number of rows of a category.
    """
    problems = {}
    for index, cells in values.items():
        problem = column_checks.describe_unfit_column(table, index, cells, cell_format, is_categorical=index in texts)
        if problem is None and not column_encoding.is_number(cells):
            fitted = column_encoding.fit(table.names[index], cells, max_categories, min_count)
            problem = column_checks.describe_free_text(table, index, fitted, cells)
        if problem is not None:
            problems[index] = problem
    return problems


def read_split_column(table: Table, index: int, option: str, *, empty: bool = False) -> np.ndarray:
    """Return the split of each row, (N,) in 0..2, from a column; -1 for an empty cell.

    Args:
        table: Table.
        index: Position of the column.
        option: Option named in the error message.
        empty: Whether empty cells are allowed.

    Raises:
        DataError: Unknown split; the message names ``option``.
    """
    cells = [cell.lower() for cell in table.columns[index]]
    split_index = SPLIT_NAMES | ({"": -1} if empty else {})
    row = next((row for row, cell in enumerate(cells) if cell not in split_index), None)
    if row is not None:
        cell = text_file.quote_cell(table.columns[index][row])
        raise DataError(
            f"{option}: {table.describe_cell(row, index)}: {cell} is not a split; it must be"
            f" train, val or test{did_you_mean(cells[row], SPLIT_NAMES)}"
        )
    return np.array([split_index[cell] for cell in cells])


def split_rows(group: np.ndarray, used: np.ndarray, target: Target | None, val: float, test: float, seed: int) -> Rows:
    """Return the rows of each split; those not assigned by file or column are split by fractions, stratified by class.

    Args:
        group: Split of each row of the table by file or column, 0 for unassigned rows, (N,).
        used: Rows to use.
        target: Target, for stratification by class.
        val: Fraction of unassigned rows for validation, if no row is assigned to it.
        test: Fraction of unassigned rows for test, if no row is assigned to it.
        seed: Random seed.

    Raises:
        DataError: A split is empty.
    """
    rows = [used[group[used] == split] for split in range(3)]
    unassigned = torch.from_numpy(rows[0])
    if target is not None and target.names:
        order = stratified_order(torch.from_numpy(target.values[rows[0]]), seed)
    else:
        order = rng.make_permutation(len(unassigned), seed, 0)
    parts = split_by_order(
        {"row": unassigned}, None, order, 0.0 if len(rows[1]) else val, 0.0 if len(rows[2]) else test
    )
    first, *others = (part.inputs["row"].numpy() for part in parts)
    rows = [first, *(np.concatenate(pair) for pair in zip(others, rows[1:], strict=True))]
    empty = [name for name, part in zip(SPLITS, rows, strict=True) if not len(part)]
    if empty:
        raise DataError(f"the {empty[0]} split is empty (0 of {len(used)} rows)")
    return rows


def fit(
    table: Table, values: Mapping[int, np.ndarray], train: np.ndarray, max_categories: int, min_count: int
) -> dict[int, Column]:
    """Fit the encoding of each column on the training rows.

    Args:
        table: Table.
        values: Parsed cells of each column, by position.
        train: Training rows.
        max_categories: Maximum number of categories of a column.
        min_count: Minimum number of rows of a category.

    Raises:
        DataError: A text column rarely repeats its values, or numbers are far outside of the training range.
    """
    fitted = {
        index: column_encoding.fit(table.names[index], cells[train], max_categories, min_count)
        for index, cells in values.items()
    }
    problems = []
    for index, column in fitted.items():
        if column["kind"] == "category":
            problem = column_checks.describe_free_text(table, index, column, values[index][train])
            problems += [] if problem is None else [problem]
        elif (is_outlier := column_encoding.outlier_mask(column, values[index])).any():
            problems.append(describe_outlier_cell(table, index, is_outlier))
    if problems:
        raise DataError(*join_problems(problems))
    return fitted


def encode(columns: Mapping[int, Column], values: Mapping[int, np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Encode rows as features (N, F) float32.

    Args:
        columns: Encoding of each feature column, by position.
        values: Parsed cells of each column, by position.
        rows: Row numbers, (N,).
    """
    return np.concatenate(
        [column_encoding.encode(column, values[index][rows]) for index, column in columns.items()], axis=1
    )


def make_info(
    target: Target | None,
    encoded_target: EncodedTarget | None,
    train: Split,
    test: Split,
    sizes: Mapping[str, Any],
    column_summaries: Sequence[str] = (),
) -> DatasetInfo:
    """Return the data set info of a table with an optional target column.

    Args:
        target: Target column, if any.
        encoded_target: Encoded target, if any.
        train: Training split.
        test: Test split.
        sizes: Sizes of the inputs.
        column_summaries: Summary of each column.
    """
    if target is None or encoded_target is None:
        return DatasetInfo(sizes=sizes, file_summary=column_summaries)
    return DatasetInfo(
        sizes={**sizes, **encoded_target.sizes},
        baseline=baselines.majority_class(train, test, len(target.names))
        if target.names
        else baselines.mean_prediction(train, test, encoded_target.scale),
        class_names=target.names,
        file_summary=column_summaries,
        target=TargetInfo(scale=encoded_target.scale, mean=encoded_target.schema.get("mean")),
    )
