"""Roles of the columns of a table: target, split and features."""

from __future__ import annotations

from collections.abc import Collection, Set
from typing import NamedTuple

from trainer.data.readers.table import ColumnFinder, Table
from trainer.utils.errors import DataError


class ColumnRoles(NamedTuple):
    """Positions of columns by role.

    Attributes:
        target: Target column.
        split: Column of train, val or test.
        features: Feature columns.
        texts: Feature columns that are categorical even if their cells are numbers.
    """

    target: int | None
    split: int | None
    features: Set[int]
    texts: Set[int]


def find_column_roles(
    table: Table,
    target: str | int | None,
    split_column: str | int | None,
    drop_columns: Collection[str | int],
    categorical: Collection[str | int],
) -> ColumnRoles:
    """Resolve the columns named by options, each by name or position.

    Args:
        table: Table of the training data.
        target: Target column; None for no target.
        split_column: Column of the splits; None for none.
        drop_columns: Columns that are not features.
        categorical: Feature columns that are categorical even if their cells are numbers.

    Raises:
        DataError: A column is missing or has two roles, or there are no features.
    """
    find = ColumnFinder(table)
    target_index = None if target is None else find(target, "target")
    split_index = None if split_column is None else find(split_column, "split_column")
    dropped = {find(key, "drop_columns") for key in drop_columns}
    texts = {find(key, "categorical") for key in categorical}
    find.raise_missing()
    reserved = [column for column in (target_index, split_index) if column is not None]
    if len(set(reserved)) < len(reserved) or dropped & set(reserved):
        raise DataError("target, split_column and drop_columns: the same column is given twice")
    features = set(range(len(table.names))) - dropped - set(reserved)
    if not features:
        raise DataError(f"path: {table.path} has no feature columns left")
    return ColumnRoles(target_index, split_index, features, texts)
