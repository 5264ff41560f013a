"""Any table in a delimited text file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import replace
from functools import partial
from typing import Literal, NamedTuple

import numpy as np
import torch

from trainer.core.dataset import Dataset, DatasetInfo, TensorSplit
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt, Thousands
from trainer.data.encoding import column_checks, table_encoder, table_schema, targets
from trainer.data.encoding.column_encoding import Column
from trainer.data.readers import delimited, table_summary
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import ColumnFinder, Table
from trainer.utils.errors import ConfigError


class CSV(Dataset):
    """One column is the target, a class (B) or a number (B, 1); with ``target=null`` there is none, and batches have no
    target. The other columns are features: numbers are standardised and categories one-hot, by what the training rows
    hold. ``schema`` keeps how, so that new rows are encoded alike.
    """

    shapes = "x (B, F) -> (B, ...)"

    def __init__(
        self,
        path: DataPath,
        target: str | int | None,
        target_kind: str,
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
    ):
        self.fitted = fitted = fitted or Preprocessing()
        cells = {"missing": missing, "decimal": decimal, "thousands": thousands}
        self.options = {"delimiter": delimiter, "header": header, "encoding": encoding, **cells}
        known = fitted.values.get("schema")
        expected = [
            target,
            split_column,
            *drop_columns,
            *categorical,
            *(table_schema.header_names(known) if known else ()),
        ]
        own = self._read(path, "data.path", expected)
        table = own if test_path is None else own.append_rows(self._read(test_path, "data.test_path", expected))
        reading, problems = CellFormat.from_options(self.options), dict[int, str]()
        if known is None:
            places = _find_column_roles(table, target, split_column, drop_columns, categorical)
            column_checks.warn_about_absent_codes([table], reading)
            values = table_encoder.read_columns(table, reading, places.features, places.texts)
            problems = table_encoder.find_unfit_columns(table, values, reading, places.texts, max_categories, min_count)
        else:
            # Of its features it knows the names, and of its rows the splits: other columns may be gone.
            places = _find_column_roles(table, target, None, (), ())
            values = table_schema.read_feature_columns(known, table, reading)
        answer = _read_target(table, places.target, reading, target_kind, known, problems)
        whole = table_encoder.select_complete_rows(
            table, values, reading, nan, answer, problems=problems, is_stored=fitted.is_stored
        )
        if known is not None:
            table_schema.check_cells(known, table, values, reading, whole)
        groups = _split_of_rows(table, len(own), places.split, test_path)
        normalize = reading.normalize_cell if fitted.version > 1 else str
        keys = table.row_keys([*values, *([] if answer is None else [answer.column])], normalize)
        split = fitted.split_rows(keys, lambda: table_encoder.split_rows(groups, whole, answer, val, test, seed), whole)
        parts = [part.numpy() for part in split]
        learned = None if answer is None else targets.fit_target(answer, parts[0], known and known["target"])

        def learn() -> table_schema.Schema:
            columns = table_encoder.fit(table, values, parts[0], max_categories, min_count)
            return table_schema.make_schema(table, columns, answer, learned)

        columns = dict(zip(values, fitted.get_or_fit("schema", learn)["columns"], strict=True))
        self.train, self.val, self.test = (_encode_splits(columns, values, learned, part) for part in parts)
        sizes = dict.fromkeys(("in_features", "flat_features"), self.train.inputs["x"].shape[1])
        lines = table_summary.summarize_table(table, columns, values, answer)
        self.info = self.complete_info(table_encoder.make_info(answer, learned, self.train, self.test, sizes, lines))

    def _read(self, path: str, option: str, expected: Collection[str | int | None]) -> Table:
        delimiter, header, encoding = (self.options[key] for key in ("delimiter", "header", "encoding"))
        return delimited.read(path, option, delimiter, header, encoding, expected=expected)

    def complete_info(self, facts: DatasetInfo) -> DatasetInfo:
        return replace(
            facts,
            to_table=partial(table_schema.decode, self.schema),
            feature_names=table_schema.feature_names(self.schema),
        )

    @property
    def schema(self) -> table_schema.Schema:
        """How columns are encoded."""
        assert self.fitted is not None
        found: table_schema.Schema = self.fitted.values["schema"]
        return found

    def read(self, path: str) -> TensorSplit:
        table = self._read(path, "input", table_schema.header_names(self.schema))
        reading = CellFormat.from_options(self.options)
        x = table_schema.encode(self.schema, table, reading)
        return TensorSplit({"x": x}, table_schema.read_labels(self.schema, table, reading))


def _encode_splits(
    columns: Mapping[int, Column],
    values: Mapping[int, np.ndarray],
    learned: targets.EncodedTarget | None,
    part: np.ndarray,
) -> TensorSplit:
    x = torch.from_numpy(table_encoder.encode(columns, values, part))
    return TensorSplit({"x": x}, None if learned is None else learned.values[torch.from_numpy(part)])


def _read_target(
    table: Table,
    at: int | None,
    reading: CellFormat,
    target_kind: str,
    known: table_schema.Schema | None,
    problems: dict[int, str],
) -> targets.Target | None:
    """The target column, as a stored run learned it where it is ``known``. ``problems`` get what is wrong with it."""
    if at is None:
        return None
    if known is not None:
        return targets.encode(table, at, reading, known["target"])
    kind = table_encoder.parse_target_kind(target_kind)
    try:
        return targets.read(table, at, reading, kind, certain=target_kind == "class")
    except ConfigError as error:
        problems[at] = str(error)
        return None


class _ColumnRoles(NamedTuple):
    """What the columns of a table are for; texts: those of the features that are categories whatever they hold."""

    target: int | None
    split: int | None
    features: Set[int]
    texts: Set[int]


def _find_column_roles(
    table: Table,
    target: str | int | None,
    split_column: str | int | None,
    drop_columns: Collection[str | int],
    categorical: Collection[str | int],
) -> _ColumnRoles:
    """Raises ConfigError for a column that is not there, or that is to be two things."""
    find = ColumnFinder(table)
    at = None if target is None else find(target, "data.target")
    split_at = None if split_column is None else find(split_column, "data.split_column")
    dropped = {find(key, "data.drop_columns") for key in drop_columns}
    texts = {find(key, "data.categorical") for key in categorical}
    find.raise_missing()
    named = [place for place in (at, split_at) if place is not None]
    if len(set(named)) < len(named) or dropped & set(named):
        raise ConfigError("data.target, data.split_column and data.drop_columns: one column is named twice")
    left = set(range(len(table.names))) - dropped - set(named)
    if not left:
        raise ConfigError(f"data.path: {table.path} has no column left to learn from")
    return _ColumnRoles(at, split_at, left, texts)


def _split_of_rows(table: Table, own: int, place: int | None, test_path: str | None) -> np.ndarray:
    """The split of each row, (N,), 0 to 2: as a column says, or by its file, of which the first has ``own`` rows."""
    if place is None:
        return np.repeat([0, 2], [own, len(table) - own])
    if test_path is not None:
        raise ConfigError("data.split_column and data.test_path both say which rows are for testing; give one")
    return table_encoder.read_split_column(table, place, "data.split_column")
