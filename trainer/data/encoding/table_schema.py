"""Serializable schema of an encoded table, for encoding new rows and decoding features to cells."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Set
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding import column_encoding
from trainer.data.encoding.cell_problems import CellProblems
from trainer.data.encoding.class_names import index_classes
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.feature_encoder import find_feature_columns
from trainer.data.encoding.targets import EncodedTarget, Target
from trainer.data.encoding.unseen_categories import UnseenCategories
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.header_detection import is_number
from trainer.data.readers.table import Table
from trainer.utils.text import join_names

Schema = Mapping[str, Any]
"""``names`` of all columns and whether they come from a header, feature ``columns`` with their ``index`` (see
``Column``), and the ``target`` if any. The cell format is given by the options of the data set."""
log = logging.getLogger(__name__)


def make_schema(
    table: Table, columns: Mapping[int, Column], target: Target | None, encoded_target: EncodedTarget | None
) -> Schema:
    """Build the schema of a table from its encoded columns and target.

    Args:
        table: Table of the training data.
        columns: Encoding of each feature column, by position.
        target: Target column, if any.
        encoded_target: Encoded target, if any.
    """
    schema = {
        "names": list(table.names),
        "header": table.has_header,
        "columns": [{"index": index, **column} for index, column in columns.items()],
    }
    if target is None or encoded_target is None:
        return schema
    return schema | {"target": {"index": target.column, "name": table.names[target.column], **encoded_target.schema}}


def find_reusable(fitted: Preprocessing, name: str, table: Table, features: Set[int]) -> Schema | None:
    """Return the schema of another run for a new table, if the feature columns are the same.

    Args:
        fitted: Preprocessing of the table.
        name: Name of the schema in it.
        table: Table to read.
        features: Positions of its feature columns.
    """

    def find_mismatch(schema: Schema) -> str:
        has_names = schema["header"] and table.has_header
        saved = {str(column["name" if has_names else "index"]) for column in schema["columns"]}
        current = {table.names[index] if has_names else str(index) for index in features}
        parts = (("missing", saved - current), ("new", current - saved))
        return "; ".join(f"{word} columns: {join_names(sorted(names), 5)}" for word, names in parts if names)

    schema: Schema | None = fitted.find_reusable(name, find_mismatch)
    return schema


def place_columns(schema: Schema, indices: Iterable[int]) -> dict[int, Column]:
    """Return the encoding of each column by its position in another table.

    Args:
        schema: Schema whose columns are used.
        indices: Positions of its columns in the other table, in their order.
    """
    return {
        index: {key: value for key, value in column.items() if key != "index"}
        for index, column in zip(indices, schema["columns"], strict=True)
    }


def find_number_target(schema: Schema | None, target: Target) -> Mapping[str, Any] | None:
    """Return the number target of another run, if it has the same name; None otherwise, as classes are read anew.

    Args:
        schema: Schema of the other run, if any.
        target: Parsed target.
    """
    saved: Mapping[str, Any] = {} if schema is None else schema.get("target", {})
    is_same = saved.get("kind") == "number" and not target.names and saved["name"] == target.table.names[target.column]
    return saved if is_same else None


def read_feature_columns(schema: Schema, table: Table, cell_format: CellFormat) -> dict[int, np.ndarray]:
    """Parse the feature columns of a table, by position, with the column types of the training table.

    Args:
        schema: Schema of the training table.
        table: Table to read.
        cell_format: Format of the cells.

    Raises:
        DataError: Columns are missing.
    """
    cells_by_index = {}
    for column, index in zip(schema["columns"], find_feature_columns(schema, table), strict=True):
        cells = table.columns[index]
        cells_by_index[index] = (
            cell_format.parse_numbers(cells) if column["kind"] == "number" else cell_format.parse_texts(cells)
        )
        if column["kind"] == "category":
            unseen = UnseenCategories(column)
            unseen.add(cells_by_index[index])
            unseen.log(table, logging.INFO if column["other"] else logging.WARNING)
    return cells_by_index


def check_cells(
    schema: Schema, table: Table, cells_by_index: Mapping[int, np.ndarray], cell_format: CellFormat, used: np.ndarray
) -> None:
    """Check that the cells of the rows ``used`` can be encoded; ``cells_by_index`` is from ``read_feature_columns``.

    Args:
        schema: Schema of the training table.
        table: Table to check.
        cells_by_index: Parsed cells from ``read_feature_columns``.
        cell_format: Format of the cells.
        used: Rows to check.

    Raises:
        DataError: Cells are not numbers where all training rows have numbers, or are far outside of their range.
    """
    problems = CellProblems(cell_format)
    is_used = np.zeros(len(table), dtype=bool)
    is_used[used] = True
    problems.start_chunk(table, is_used)
    for column, (index, cells) in zip(schema["columns"], cells_by_index.items(), strict=True):
        if column["kind"] == "number":
            problems.check_numbers(column, index, cells)
    problems.finish()


def read_labels(schema: Schema, table: Table, cell_format: CellFormat) -> Tensor | None:
    """Return the classes (N,) of a table if it has the target column with a known class in every row; else None.

    Args:
        schema: Schema of the training table.
        table: Table to read.
        cell_format: Format of the cells.
    """
    index = find_target_column(schema, table)
    if index is None or "classes" not in schema["target"]:
        return None
    labels = index_classes(schema["target"]["classes"], table.columns[index], cell_format)
    return torch.from_numpy(labels) if (labels >= 0).all() else None


def find_target_column(schema: Schema, table: Table) -> int | None:
    """Return the position of the target: by name where both tables have a header, else by order; None if it has none.

    Args:
        schema: Schema of the training table.
        table: Table to read.
    """
    target = schema.get("target")
    if target is None:
        return None
    if schema["header"] and table.has_header:
        return table.names.index(target["name"]) if target["name"] in table.names else None
    return int(target["index"]) if len(table.names) == len(schema["names"]) else None


def decode(schema: Schema, x: Tensor, label: Tensor | None) -> tuple[list[str], list[list[Any]]]:
    """Decode features (N, F) to column names and rows of cells in their original units.

    The target is the last column if the classes ``label`` (N,) are given.

    Args:
        schema: Schema of the training table.
        x: Features, (N, F).
        label: Class of each row, (N,); None omits the target.
    """
    columns = schema["columns"]
    parts = x.double().cpu().split([column_encoding.output_width(column) for column in columns], dim=1)
    cells = [column_encoding.decode(column, part.numpy()) for column, part in zip(columns, parts, strict=True)]
    names = [column["name"] for column in columns]
    if label is not None:
        names.append(schema["target"]["name"])
        cells.append([schema["target"]["classes"][index] for index in label.tolist()])
    return names, list(map(list, zip(*cells, strict=True)))


def describe_row(schema: Schema) -> dict[str, Any]:
    """Return the JSON schema of a row: an object by column name, or an array if the training table has no header.

    Args:
        schema: Schema of the training table.
    """
    cells = {column["name"]: _describe_cell(column) for column in schema["columns"]}
    if schema["header"]:
        return {"type": "object", "properties": cells, "required": list(cells)}
    return {"type": "array", "prefixItems": list(cells.values()), "minItems": len(cells)}


def _describe_cell(column: Column) -> dict[str, Any]:
    if column["kind"] == "number":
        return {"type": ["number", "null"] if column["gaps"] else "number"}
    return {"type": ["string", "number", "boolean", "null"], "examples": list(filter(None, column["categories"]))[:10]}


def feature_names(schema: Schema) -> list[str]:
    """Return the names of the features (N, F)."""
    return [name for column in schema["columns"] for name in column_encoding.output_names(column)]


def header_names(schema: Schema) -> Collection[str]:
    """Return the names that identify a header row: any that is a text, or all numeric ones of features."""
    if not schema["header"]:
        return ()
    feature_columns = {column["name"] for column in schema["columns"]}
    return [name for name in schema["names"] if name in feature_columns or not is_number(name)]
