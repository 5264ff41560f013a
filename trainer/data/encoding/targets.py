"""Target columns: classes or numbers."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.data.encoding import column_checks
from trainer.data.encoding.class_names import index_classes, map_class_names
from trainer.data.encoding.standardization import MAX_STANDARDIZED_VALUE, mean_and_scale
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table
from trainer.data.readers.text_file import quote_cell
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names

log = logging.getLogger(__name__)

FEW_CLASSES = 20
"""Up to this many distinct numbers are always accepted as classes."""
MIN_ROWS_PER_CLASS = 10
"""More distinct numbers are classes only if they are integers with at least this many rows on average."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """Parsed target column.

    Args:
        table: Table.
        column: Position of the target column.
        values: Class indices or numbers, (N,).
        known_mask: Rows with a valid target, (N,).
        names: Class names; empty for a regression target.
    """

    table: Table
    column: int
    values: np.ndarray
    known_mask: np.ndarray
    names: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class EncodedTarget:
    """Encoded target; numbers are standardized by the training rows.

    Args:
        values: Targets, (N,) int64 classes or (N, 1) float32.
        sizes: Sizes of the output.
        schema: Schema, which a run stores.
        scale: Standard deviation of the training rows in original units; 1 for classes.
    """

    values: Tensor
    sizes: Mapping[str, int]
    schema: Mapping[str, Any]
    scale: float = 1.0


def read(table: Table, column: int, cell_format: CellFormat, kind: str, *, certain: bool) -> Target:
    """Parse a target column as ``kind``, class or number; see ``read_classes`` and ``read_numbers`` for errors.

    Args:
        table: Table.
        column: Position of the target column.
        cell_format: Format of the cells.
        kind: ``class`` or ``number``.
        certain: Whether the kind was requested, so that numbers are accepted as classes.
    """
    if kind == "class":
        return read_classes(table, column, cell_format, certain=certain)
    return read_numbers(table, column, cell_format)


def encode(table: Table, column: int, cell_format: CellFormat, schema: Mapping[str, Any]) -> Target:
    """Parse a target column with the schema of a saved run; unknown classes and non-numbers are logged and masked.

    Args:
        table: Table.
        column: Position of the target column.
        cell_format: Format of the cells.
        schema: Schema of the target.
    """
    cells = table.columns[column]
    values = parse_stored(table, column, cell_format, schema)
    known_mask = np.isfinite(values) if schema["kind"] == "number" else values >= 0
    unknown = [
        cell for cell, is_known in zip(cells, known_mask, strict=True) if not is_known and not cell_format.is_gap(cell)
    ]
    if unknown:
        unknown_names = join_names(sorted(set(unknown)), 5)
        text = "%s: rows dropped: %d; this run has no %r %s"
        log.warning(text, table.path, len(unknown), table.names[column], unknown_names)
    return Target(table=table, column=column, values=values, known_mask=known_mask, names=schema.get("classes", ()))


def parse_stored(table: Table, column: int, cell_format: CellFormat, schema: Mapping[str, Any]) -> np.ndarray:
    """Parse a target column with the schema of a saved run.

    Args:
        table: Table.
        column: Position of the target column.
        cell_format: Format of the cells.
        schema: Schema of the target.

    Returns:
        Numbers (N,), which are not finite for other cells, or classes (N,), which are -1 for unknown ones.
    """
    if schema["kind"] == "number":
        return cell_format.parse_numbers(table.columns[column])
    return index_classes(schema["classes"], table.columns[column], cell_format)


def fit_target(target: Target, train: np.ndarray, schema: Mapping[str, Any] | None = None) -> EncodedTarget:
    """Encode the target by the training rows, or as a saved run encoded it.

    See ``fit_classes`` and ``fit_numbers`` for errors.

    Args:
        target: Parsed target.
        train: Training rows.
        schema: Schema of a saved run, if any.
    """
    return (fit_classes if target.names else fit_numbers)(target, train, schema)


def read_classes(table: Table, column: int, cell_format: CellFormat, *, certain: bool) -> Target:
    """Parse class labels as indices into the sorted class names (numeric order for numbers); see ``map_class_names``.

    Args:
        table: Table.
        column: Position of the target column.
        cell_format: Format of the cells.
        certain: Whether many distinct numbers are accepted as classes.

    Raises:
        DataError: There is a single class, or, unless ``certain``, the labels look like continuous values.
    """
    texts = cell_format.parse_texts(table.columns[column])
    names = map_class_names(sorted(set(texts) - {""}), cell_format)
    ordered = sorted(set(names.values()))
    numbers = {name: value for name in ordered if (value := cell_format.canonicalize_number(name)) is not None}
    if len(numbers) == len(ordered):
        ordered.sort(key=numbers.__getitem__)
    if not certain:
        _check_not_continuous(table, column, ordered, cell_format)
    if len(ordered) < 2:
        raise DataError(_describe_single_class(table, column, ordered, cell_format))
    class_index = {"": -1} | {text: ordered.index(name) for text, name in names.items()}
    labels = np.fromiter(map(class_index.__getitem__, texts), np.int64, len(texts))
    return Target(table=table, column=column, values=labels, known_mask=labels >= 0, names=ordered)


def _describe_single_class(table: Table, column: int, names: Sequence[str], cell_format: CellFormat) -> str:
    """Describe a target with fewer than two classes, including values of ``data.missing`` that may be classes."""
    cells = table.columns[column]
    content = f"only one class, {quote_cell(names[0])}" if names else "only missing values"
    missing_texts = sorted({cell for cell in cells if cell and cell_format.is_gap(cell)})
    hint = ""
    if missing_texts:
        count = sum(map(missing_texts.__contains__, cells))
        hint = (
            f"; {count} cells are missing values by data.missing, which lists {quote_cell(missing_texts[0])}: remove it"
            " to use them as a class"
        )
    return (
        f"target: column {table.names[column]!r} of {table.path} has {content}; at least two classes are needed{hint}"
    )


def _check_not_continuous(table: Table, column: int, names: Sequence[str], cell_format: CellFormat) -> None:
    if len(names) <= FEW_CLASSES or cell_format.are_codes(names):
        return
    count, rows = len(names), len(table)
    distinct = cell_format.parse_numbers(names)
    format_hint = None if np.isfinite(distinct).all() else cell_format.suggest_number_format(names)
    are_integers = bool((distinct == distinct.round()).all())
    advice = "use task=regression (or data.target_kind=class to use them as classes anyway)"
    prefix = f"target: column {table.names[column]!r} of {table.path} holds"
    if format_hint is not None:
        raise DataError(f"{prefix} {format_hint}; {advice}")
    if np.isfinite(distinct).all() and (not are_integers or count * MIN_ROWS_PER_CLASS > rows):
        raise DataError(f"{prefix} {count} distinct numbers in {rows} rows, such as {distinct[0]:g}: {advice}")


def read_numbers(table: Table, column: int, cell_format: CellFormat) -> Target:
    """Parse a regression target; NaN for a missing value, infinity for a text.

    Args:
        table: Table.
        column: Position of the target column.
        cell_format: Format of the cells.

    Raises:
        DataError: Most cells are texts, or all numbers are equal.
    """
    values = cell_format.parse_numbers(table.columns[column])
    is_known, is_text = np.isfinite(values), np.isinf(values)
    format_hint = cell_format.suggest_number_format(table.columns[column]) if is_text.any() else None
    if format_hint is not None:
        raise DataError(f"target: column {table.names[column]!r} of {table.path} holds {format_hint}")
    if is_text.sum() >= max(1, is_known.sum()):
        row = int(np.argmax(is_text))
        raise DataError(
            f"target: {table.describe_cell(row, column)}: {quote_cell(table.columns[column][row])} is not a number"
            f" ({int(is_text.sum())} of {len(values)} cells are not): use task=classification for classes"
        )
    if not is_known.any() or np.ptp(values[is_known]) == 0:
        content = f"{values[is_known][0]:g} in every row" if is_known.any() else "missing in every row"
        raise DataError(f"target: column {table.names[column]!r} of {table.path} is {content}; it must vary")
    column_checks.warn_about_mixed_decimals(table, column, cell_format)
    return Target(table=table, column=column, values=values, known_mask=is_known)


def fit_classes(target: Target, train: np.ndarray, schema: Mapping[str, Any] | None = None) -> EncodedTarget:
    """Encode a class target.

    Args:
        target: Parsed target.
        train: Training rows.
        schema: Schema of a saved run, if any.

    Raises:
        DataError: A class has no training row; the message names its first row.
    """
    train_classes = np.unique(target.values[train])
    missing_classes = np.setdiff1d(target.values[target.known_mask], train_classes)
    if len(missing_classes) and schema is None:
        name, train_names = target.names[missing_classes[0]], [target.names[index] for index in train_classes]
        row = int(np.argmax(target.values == missing_classes[0]))
        raise DataError(
            f"target: {target.table.describe_cell(row, target.column)}: class {name!r} has no training row"
            f"{did_you_mean(name, train_names)} (classes of the training rows: {', '.join(train_names[:FEW_CLASSES])})"
        )
    return EncodedTarget(
        values=torch.from_numpy(target.values),
        sizes=class_sizes(len(target.names)),
        schema={"kind": "class", "classes": list(target.names)},
    )


def fit_numbers(target: Target, train: np.ndarray, schema: Mapping[str, Any] | None = None) -> EncodedTarget:
    """Standardize a regression target by the training rows; ``scale`` is their standard deviation.

    Args:
        target: Parsed target.
        train: Training rows.
        schema: Schema of a saved run, whose mean and deviation are used, if any.

    Raises:
        DataError: A value is far outside of the training range.
    """
    mean, std = mean_and_scale(target.values[train]) if schema is None else (schema["mean"], schema["std"])
    is_outlier = target.known_mask & (
        np.abs(np.where(target.known_mask, target.values, mean) - mean) > MAX_STANDARDIZED_VALUE * std
    )
    if is_outlier.any():
        row = int(np.argmax(is_outlier))
        cell = quote_cell(target.table.columns[target.column][row])
        raise DataError(
            f"target: {target.table.describe_cell(row, target.column)}: {cell} is more than "
            f"{MAX_STANDARDIZED_VALUE:g} standard deviations from the"
            " mean of the training rows; if it encodes a missing value, add it to data.missing"
        )
    values = standardize(target.values, mean, std)
    return EncodedTarget(
        values=values, sizes={"out_features": 1}, schema={"kind": "number", "mean": mean, "std": std}, scale=std
    )


def standardize(values: np.ndarray, mean: float, std: float) -> Tensor:
    """Return standardized numbers (N, 1) float32; unused rows may hold NaN and infinity.

    Args:
        values: Numbers (N,).
        mean: Mean of the training rows.
        std: Standard deviation of the training rows.
    """
    with np.errstate(invalid="ignore"):
        return torch.from_numpy((values - mean) / std).float()[:, None]
