"""Feature columns of a table, encoded by the schema of a saved run or by one that is fitted."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

import numpy as np

from trainer.data.encoding import table_encoder, table_schema
from trainer.data.encoding.column_encoding import Column
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.table import Table


@dataclass(frozen=True)
class FeatureReader:
    """Reader and encoder of feature columns.

    Args:
        schema: Schema of another run, which replaces the other options; None to fit the encoding.
        cell_format: Format of the cells.
        max_categories: Maximum number of categories per column.
        min_count: Minimum number of training rows of a category.
    """

    schema: table_schema.Schema | None
    cell_format: CellFormat
    max_categories: int
    min_count: int

    def read(self, table: Table, columns: Set[int], texts: Set[int]) -> tuple[dict[int, np.ndarray], dict[int, str]]:
        """Return the parsed columns, and without a schema why some cannot be used, by position.

        Args:
            table: Table.
            columns: Positions of the columns.
            texts: Those of them that are categories even if their cells are numbers.
        """
        if self.schema is not None:
            return table_schema.read_feature_columns(self.schema, table, self.cell_format), {}
        values = table_encoder.read_columns(table, self.cell_format, columns, texts)
        limits = self.max_categories, self.min_count
        return values, table_encoder.find_unfit_columns(table, values, self.cell_format, texts, *limits)

    def check(self, table: Table, values: Mapping[int, np.ndarray], rows: np.ndarray) -> None:
        """Check the cells of the rows that are used by the schema, if there is one.

        Args:
            table: Table.
            values: The parsed columns.
            rows: The rows.

        Raises:
            DataError: Cells are not numbers where the schema has numbers, or are far outside of their range.
        """
        if self.schema is not None:
            table_schema.check_cells(self.schema, table, values, self.cell_format, rows)

    def fit(self, table: Table, values: Mapping[int, np.ndarray], train: np.ndarray) -> dict[int, Column]:
        """Return the encoding of the columns by position: that of the schema, or else one fitted on training rows.

        Args:
            table: Table.
            values: The parsed columns.
            train: Training rows.
        """
        if self.schema is not None:
            return table_schema.place_columns(self.schema, values)
        return table_encoder.fit(table, values, train, self.max_categories, self.min_count)
