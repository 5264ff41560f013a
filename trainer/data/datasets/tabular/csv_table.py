"""Tables in delimited text files."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, TableInfo
from trainer.core.preprocessing import Preprocessing, RowKeys
from trainer.core.split import Split, TensorSplit
from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt, Thousands
from trainer.data.encoding import (
    column_checks,
    column_roles,
    complete_rows,
    parquet_table,
    row_encoder,
    row_objects,
    table_encoder,
    table_schema,
    targets,
)
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.feature_reader import FeatureReader
from trainer.data.encoding.row_encoder import RowEncoder
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.row_keys import make_row_keys
from trainer.data.readers.skipped_rows import SKIP_HINT, SkippedRows
from trainer.data.readers.table import Table
from trainer.data.splits.named_rows import NamedRows
from trainer.utils.errors import DataError


class CSV(Dataset):
    """Table with a class or regression target, read from a delimited text file.

    The target column is a class (B) or a number (B, 1); ``target=null`` gives batches without a target. The other
    columns are features: numbers are standardized and categories one-hot encoded, with statistics of the training rows.
    ``schema`` stores the encoding, so that new rows are encoded in the same way.

    Args:
        path: Delimited text file.
        target: Target column, by name or index; None for no target.
        target_kind: Read the target as a class or as a number; None follows ``task_target``.
        test_path: Separate file of the test rows.
        delimiter: Column delimiter: comma, semicolon, tab, bar, space or a character; None detects it.
        header: Whether the first row holds the column names; ``auto`` detects it.
        encoding: Character encoding of the files.
        decimal: Decimal separator.
        thousands: Thousands separator; None for none.
        missing: Strings that count as missing values, case-insensitive.
        nan: Missing numbers: raise an error, drop the row, or fill in the mean and add an indicator column.
        categorical: Columns of numbers that are categories, by name or index.
        drop_columns: Columns that are not features, by name or index.
        split_column: Column of train, val or test; None for a random split, stratified by class.
        val: Fraction of the rows for validation.
        test: Fraction of the rows for test, without ``test_path`` and ``split_column``.
        max_categories: Maximum number of categories per column; the least frequent ones are merged.
        min_count: Minimum number of training rows of a category; rarer ones are merged.
        seed: Random seed of the split.
        fitted: Preprocessing of a saved run; None fits it to the training rows.
        task_target: Kind of target that the task needs; None if it takes both.
    """

    shapes = "x (B, F) -> (B, ...)"

    reusable_values = MappingProxyType({"schema": ("categorical", "max_categories", "min_count")})

    def __init__(
        self,
        path: DataPath,
        target: str | int | None,
        target_kind: Literal["class", "number"] | None = None,
        test_path: DataPath | None = None,
        delimiter: str | None = None,
        header: Literal["auto"] | bool = "auto",
        encoding: str = "utf-8",
        decimal: Literal["point", "comma"] = "point",
        thousands: Thousands | None = None,
        missing: Sequence[str | float] = ("", "?", "na", "n/a", "nan", "null", "none", "-"),
        nan: Literal["error", "drop", "fill"] = "error",
        categorical: Sequence[str | int] = (),
        drop_columns: Sequence[str | int] = (),
        split_column: str | int | None = None,
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        max_categories: PositiveInt = 50,
        min_count: PositiveInt = 2,
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
        task_target: Literal["class", "number"] | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        cells = {"missing": missing, "decimal": decimal, "thousands": thousands}
        self.options = {"delimiter": delimiter, "header": header, "encoding": encoding, **cells}
        schema = fitted.get("schema") if fitted.is_stored else None
        header_names = () if schema is None else table_schema.header_names(schema)
        expected = [target, split_column, *drop_columns, *categorical, *header_names]
        main = self._read(path, "path", expected)
        table = main if test_path is None else main.append_rows(self._read(test_path, "test_path", expected))
        fmt = CellFormat.from_options(self.options)
        if schema is None:
            roles = column_roles.find_column_roles(table, target, split_column, drop_columns, categorical)
            column_checks.warn_about_absent_codes([table], fmt)
            feature_schema = table_schema.find_reusable(fitted, "schema", table, roles.features)
        else:
            # A saved run stores its feature names and the split of each row, so the other columns may be missing.
            roles, feature_schema = column_roles.find_column_roles(table, target, None, (), ()), schema
        reader = FeatureReader(feature_schema, fmt, max_categories, min_count)
        values, problems = reader.read(table, roles.features, roles.texts)
        labels = _read_target(table, roles.target, fmt, (target_kind, task_target), schema, problems)
        rows = complete_rows.select_complete_rows(
            table, values, fmt, nan, labels, problems=problems, is_stored=fitted.is_stored
        )
        reader.check(table, values, rows)
        groups = _split_of_rows(table, len(main), roles.split, test_path)
        keys = _make_keys(table, values, labels, fmt.normalize_cell if fitted.version > 1 else str)
        split = fitted.split_rows(keys, lambda: table_encoder.split_rows(groups, rows, labels, val, test, seed), rows)
        parts = [part.numpy() for part in split]
        encoded = None if labels is None else _encode_target(labels, parts[0], schema, feature_schema)
        columns = reader.fit(table, values, parts[0])
        if schema is None:
            fitted.values["schema"] = table_schema.make_schema(table, columns, labels, encoded)
        self.train, self.val, self.test = (_encode_splits(columns, values, encoded, part) for part in parts)
        sizes = dict.fromkeys(("in_features", "flat_features"), self.train.inputs["x"].shape[1])
        lines = table_summary.summarize_table(table, columns, values, labels)
        self.info = self.complete_info(table_encoder.make_info(labels, encoded, self.train, self.test, sizes, lines))

    @classmethod
    def get_feature_names(cls, fitted_values: Mapping[str, Any]) -> Sequence[str]:
        return table_schema.feature_names(fitted_values["schema"]) if "schema" in fitted_values else ()

    def _read(self, path: str, option: str, expected: Collection[str | int | None]) -> Table:
        return delimited.read(path, option, *self._dialect, expected=expected)

    @property
    def _dialect(self) -> tuple[str | None, Literal["auto"] | bool, str]:
        return self.options["delimiter"], self.options["header"], self.options["encoding"]

    @property
    def _cell_format(self) -> CellFormat:
        return CellFormat.from_options(self.options)

    def complete_info(self, info: DatasetInfo) -> DatasetInfo:
        table = TableInfo(
            feature_names=table_schema.feature_names(self.schema), to_table=partial(table_schema.decode, self.schema)
        )
        return replace(info, table=table)

    @property
    def schema(self) -> table_schema.Schema:
        """Encoding of the columns, fitted on the training rows."""
        assert self.fitted is not None
        schema: table_schema.Schema = self.fitted.values["schema"]
        return schema

    def read(self, path: str) -> TensorSplit:
        table = self._read(path, "input", table_schema.header_names(self.schema))
        x = row_encoder.encode_table(table, self.schema, self._cell_format)
        return TensorSplit({"x": x}, table_schema.read_labels(self.schema, table, self._cell_format))

    def read_chunks(
        self,
        path: str,
        with_targets: bool = False,
        on_error: Literal["error", "skip"] = "error",
        id_column: str | int | None = None,
    ) -> Iterator[Split]:
        """Read another table in chunks that fit in memory.

        Args:
            path: Delimited text file, or Parquet file.
            with_targets: Read the target column too.
            on_error: ``error`` refuses rows with a cell that cannot be read; ``skip`` leaves them out and lists them.
            id_column: Column that identifies the rows in the output, by name or index; None for their numbers.

        Raises:
            DataError: The file is not such a table, columns are missing, or cells cannot be read.
        """
        skipped = SkippedRows() if on_error == "skip" else None
        encoder = RowEncoder(self.schema, self._cell_format, with_targets=with_targets, skipped=skipped)
        num_rows = 0
        for table in self._read_tables(path, skipped):
            id_position = None if id_column is None else table.find_column(id_column, "id_column")
            encoded = encoder.encode(table)
            if encoded is not None and len(encoded.rows):
                num_rows += len(encoded.rows)
                title = "row" if id_position is None else table.names[id_position]
                names = table.numbers if id_position is None else table.columns[id_position]
                yield NamedRows({"x": encoded.x}, encoded.target, title, [names[row] for row in encoded.rows.tolist()])
        encoder.finish(SKIP_HINT)
        if skipped is not None:
            skipped.log_warnings()
        if not num_rows:
            raise DataError(f"input: no row of {path} can be read")

    def _read_tables(self, path: str, skipped: SkippedRows | None) -> Iterator[Table]:
        if Path(path).suffix.lower() == parquet_table.SUFFIX:
            return parquet_table.read_chunks(path, "input", self.schema, self._cell_format)
        names = table_schema.header_names(self.schema)
        return delimited.read_chunks(path, "input", *self._dialect, expected=names, skipped=skipped)

    def encode_rows(self, rows: Any) -> TensorSplit:
        table = row_objects.make_table(rows, self.schema, self._cell_format)
        return TensorSplit({"x": row_encoder.encode_table(table, self.schema, self._cell_format)})

    def describe_encoding(self) -> dict[str, Any]:
        delimiter, header, text_encoding = self._dialect
        return {
            "program": "tables",
            "schema": self.schema,
            "header_names": list(table_schema.header_names(self.schema)),
            "cells": self._cell_format.to_options(),
            **{"delimiter": delimiter, "header": header, "text_encoding": text_encoding},
        }

    def row_schema(self) -> dict[str, Any]:
        return table_schema.describe_row(self.schema)


def _make_keys(
    table: Table, columns: Iterable[int], labels: targets.Target | None, normalize: Callable[[str], str]
) -> RowKeys:
    """Return keys of the rows, by which a saved run finds their splits."""
    return make_row_keys(table, [*columns, *([] if labels is None else [labels.column])], normalize)


def _encode_splits(
    columns: Mapping[int, Column],
    values: Mapping[int, np.ndarray],
    encoded: targets.EncodedTarget | None,
    part: np.ndarray,
) -> TensorSplit:
    x = torch.from_numpy(table_encoder.encode(columns, values, part))
    return TensorSplit({"x": x}, None if encoded is None else encoded.values[torch.from_numpy(part)])


def _read_target(
    table: Table,
    column: int | None,
    fmt: CellFormat,
    kinds: tuple[table_encoder.TargetKind | None, table_encoder.TargetKind | None],
    schema: table_schema.Schema | None,
    problems: dict[int, str],
) -> targets.Target | None:
    """Return the target column, encoded by the schema of a saved run if there is one.

    The message for an invalid column is added to ``problems``.
    """
    if column is None:
        return None
    if schema is not None:
        return targets.encode(table, column, fmt, schema["target"])
    kind = table_encoder.choose_target_kind(*kinds)
    try:
        return targets.read(table, column, fmt, kind, certain=kinds[0] == "class")
    except DataError as error:
        problems[column] = str(error)
        return None


def _encode_target(
    labels: targets.Target,
    train: np.ndarray,
    schema: table_schema.Schema | None,
    feature_schema: table_schema.Schema | None,
) -> targets.EncodedTarget:
    """Encode the target as in a saved run, or a number as in the run whose features are reused, or else fit it."""
    saved = table_schema.find_number_target(feature_schema, labels) if schema is None else schema["target"]
    return targets.fit_target(labels, train, saved)


def _split_of_rows(table: Table, main: int, column: int | None, test_path: str | None) -> np.ndarray:
    """Return the split of each row, (N,) in 0..2, from a column or by file; the first file has ``main`` rows."""
    if column is None:
        return np.repeat([0, 2], [main, len(table) - main])
    if test_path is not None:
        raise DataError("split_column and test_path both select the test rows; give only one")
    return table_encoder.read_split_column(table, column, "split_column")
