"""Base class of data sets of graphs in tables, which encode other graphs as those of training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, cast

from trainer.core.dataset import Dataset
from trainer.core.preprocessing import Preprocessing
from trainer.core.split import Split
from trainer.data.encoding import graph_objects
from trainer.data.encoding.input_errors import name_input
from trainer.data.readers.edge_table_options import TableOptions
from trainer.data.readers.edge_tables import GraphTables


class TabularGraphs(Dataset):
    """Base class of data sets of graphs in tables."""

    @abstractmethod
    def encode_graph(self, tables: GraphTables, with_targets: bool) -> Split:
        """Encode other tables by the stored preprocessing.

        Args:
            tables: Tables of one or several graphs.
            with_targets: Read the targets too; otherwise all nodes or graphs are predicted.
        """

    def read_chunks(self, path: str, with_targets: bool = False) -> Iterator[Split]:
        """Read other graphs with the same columns; each fits in memory as those of training do.

        Args:
            path: Folder with files of the same names as those of training.
            with_targets: Read the targets too.
        """
        with name_input():
            tables = GraphTables(cast(TableOptions, {**self.options, "path": path}), self._copy_fitted())
            yield self.encode_graph(tables, with_targets)

    def encode_rows(self, rows: Any) -> Split:
        """Encode graphs in memory.

        Args:
            rows: Graph of PyTorch Geometric, or a list of them, see ``graph_objects.make_tables``.
        """
        fitted = self._copy_fitted()
        # Numbers in memory are written with a point.
        options = {**self.options, "decimal": "point", "thousands": None, "path": ""}
        tables = graph_objects.make_tables(rows, fitted)
        return self.encode_graph(GraphTables(cast(TableOptions, options), fitted, tables), with_targets=False)

    def row_schema(self) -> dict[str, Any]:
        return dict(graph_objects.ROW_SCHEMA)

    def _copy_fitted(self) -> Preprocessing:
        """Return the preprocessing as that of a saved run, which is not fitted again."""
        assert self.fitted is not None
        return Preprocessing(self.fitted.values, self.fitted.version)
