"""How a table became rows of numbers, as plain values: new rows become numbers alike, and numbers become a table."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.data.encoding import column_encoding, table_encoder
from trainer.data.encoding.column_encoding import Column
from trainer.data.encoding.targets import EncodedTarget, Target, index_classes
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.delimited import Table
from trainer.data.readers.header_detection import is_number
from trainer.data.readers.text_file import join_names
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

Schema = Mapping[str, Any]
"""``names`` of all columns and whether they stood in a header, ``columns`` that are features with their ``index`` (see
``Column``), and the ``target`` if there is one. How cells are read is said by the options of the data set."""
log = logging.getLogger(__name__)


def make_schema(
    table: Table, columns: Mapping[int, Column], answer: Target | None, learned: EncodedTarget | None
) -> Schema:
    """The schema of a table whose feature columns are encoded so."""
    schema = {
        "names": list(table.names),
        "header": table.has_header,
        "columns": [{"index": place, **column} for place, column in columns.items()],
    }
    if answer is None or learned is None:
        return schema
    return schema | {"target": {"index": answer.column, "name": table.names[answer.column], **learned.schema}}


def read_feature_columns(schema: Schema, table: Table, reading: CellFormat) -> dict[int, np.ndarray]:
    """The feature columns of a table by their places, as numbers or texts, as the training table was read.

    Raises ConfigError for columns that lack.
    """
    found = {}
    for column, place in zip(schema["columns"], _find_feature_columns(schema, table), strict=True):
        cells = table.columns[place]
        found[place] = reading.parse_numbers(cells) if column["kind"] == "number" else reading.parse_texts(cells)
        if column["kind"] == "category":
            _warn_about_unseen_categories(column, found[place], table)
    return found


def encode(schema: Schema, table: Table, reading: CellFormat) -> Tensor:
    """Features (N, F) float32 of the rows of a table that has the feature columns, by name or in their order.

    What has no place is told in the log: columns that were not there in training, categories that no training row has.

    Raises ConfigError for columns that lack, and for cells that are no numbers where the training rows had numbers.
    """
    found = read_feature_columns(schema, table, reading)
    check_cells(schema, table, found, reading, np.arange(len(table)))
    parts = [
        column_encoding.encode(column, cells) for column, cells in zip(schema["columns"], found.values(), strict=True)
    ]
    return torch.from_numpy(np.concatenate(parts, axis=1))


def check_cells(
    schema: Schema, table: Table, found: Mapping[int, np.ndarray], reading: CellFormat, used: np.ndarray
) -> None:
    """Whether the cells of the rows ``used`` can be encoded, of columns ``found`` by ``values``.

    Raises ConfigError for cells that are no numbers where the training rows had numbers, and for numbers out of all
    proportion to those.
    """
    problems = []
    for column, (place, cells) in zip(schema["columns"], found.items(), strict=True):
        if column["kind"] != "number":
            continue
        good, far = np.ones(len(cells), dtype=bool), np.zeros(len(cells), dtype=bool)
        good[used], far[used] = np.isfinite(cells[used]), column_encoding.outlier_mask(column, cells[used])
        if not (column["gaps"] or good.all()):
            problems.append(table_encoder.describe_bad_cell(table, place, good, reading))
        elif far.any():
            problems.append(table_encoder.describe_outlier_cell(table, place, far))
        else:
            table_encoder.warn_about_unparsed_cells(table, place, np.where(good, 0.0, cells), "the mean is put there")
    if problems:
        raise ConfigError(*table_encoder.join_problems(problems), "the training rows have a number in every such cell")


def read_labels(schema: Schema, table: Table, reading: CellFormat) -> Tensor | None:
    """The classes (N,) of a table's rows, where it tells them as the training table does, in every row; else None."""
    target = schema.get("target", {})
    if "classes" not in target or target["name"] not in table.names:
        return None
    cells = table.columns[table.names.index(target["name"])]
    places = index_classes(target["classes"], cells, reading)
    return torch.from_numpy(places) if (places >= 0).all() else None


def decode(schema: Schema, x: Tensor, label: Tensor | None) -> tuple[list[str], list[list[Any]]]:
    """The names of the feature columns, and rows of cells in their units for features (N, F).

    The target is the last column where the classes (N,) are given.
    """
    columns = schema["columns"]
    parts = x.double().cpu().split([column_encoding.output_width(column) for column in columns], dim=1)
    cells = [column_encoding.decode(column, part.numpy()) for column, part in zip(columns, parts, strict=True)]
    names = [column["name"] for column in columns]
    if label is not None:
        names.append(schema["target"]["name"])
        cells.append([schema["target"]["classes"][one] for one in label.tolist()])
    return names, list(map(list, zip(*cells, strict=True)))


def feature_names(schema: Schema) -> list[str]:
    """What each number of features (N, F) is called."""
    return [name for column in schema["columns"] for name in column_encoding.output_names(column)]


def header_names(schema: Schema) -> Collection[str]:
    """The names that make a first row a header: any that is a text, or all that are numbers and features."""
    if not schema["header"]:
        return ()
    features_of = {column["name"] for column in schema["columns"]}
    return [name for name in schema["names"] if name in features_of or not is_number(name)]


def _find_feature_columns(schema: Schema, table: Table) -> Sequence[int]:
    """Where each feature column stands in a table: by name where both have a header, else in order."""
    wanted = [column["name"] for column in schema["columns"]]
    if schema["header"] and table.has_header:
        lacking = [name for name in wanted if name not in table.names]
        if lacking:
            guess = did_you_mean(lacking[0], [name for name in table.names if name not in wanted])
            raise ConfigError(
                f"{table.path} lacks columns that the training rows have: {join_names(lacking)}{guess}"
                f" (its columns: {join_names(table.names)})"
            )
        strange = [name for name in table.names if name not in schema["names"]]
        if strange:
            log.warning("%s: columns that the training table lacks are left out: %s", table.path, join_names(strange))
        return [table.names.index(name) for name in wanted]
    if len(table.names) == len(schema["names"]):
        return [column["index"] for column in schema["columns"]]
    if len(table.names) == len(wanted):
        return range(len(wanted))
    raise ConfigError(
        f"{table.path} has {len(table.names)} columns; the training table has {len(schema['names'])},"
        f" of which {len(wanted)} are features: {join_names(wanted)}"
    )


def _warn_about_unseen_categories(column: Column, values: np.ndarray, table: Table) -> None:
    """Counts the rows of categories that no training row has; where there is a column for others, they may be rare."""
    known = set(column["categories"])
    strange = [text or "a gap" for text in values if text not in known]
    if strange:
        level = logging.INFO if column["other"] else logging.WARNING
        names = join_names(sorted(set(strange)), 5)
        text = "%s: no training row has in column %r: %s (%d rows)"
        log.log(level, text, table.path, column["name"], names, len(strange))
