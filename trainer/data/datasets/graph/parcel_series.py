"""Region time series (e.g. parcellated BOLD), one table per run, as node features on a shared graph."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeInt, PositiveInt, Thousands
from trainer.data.encoding import correlation, region_rows
from trainer.data.readers import class_folders, region_files
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.region_tables import FILE_EXTENSIONS, RegionTable, RegionTableFormat
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.utils.errors import DataError
from trainer.utils.suggest import did_you_mean
from trainer.utils.text import join_names

CHUNK_RUNS = 32
"""Number of runs that are in memory at once."""


class ParcelSeries(Dataset):
    """Classification of runs of region time series on a correlation graph.

    Each run is a table with one row per step and one column per region, in ``CLASS/*.csv`` (or tsv, npy), optionally
    under ``train``, ``val`` and ``test``; or listed in ``labels.csv`` with columns file and label, and unlisted files
    are ignored. Node features are the value of the region, its degree and its mean |correlation|.

    Args:
        path: Directory of tables.
        graph: Square table of edge weights >= 0 from row to column. By default an edge joins two regions where their
            |correlation|, averaged over training tables, is among the ``top_k`` largest of either region.
        top_k: Number of strongest links per region, in both directions, without ``graph``.
        standardize: Statistics for standardization: of each ``table``, or of all ``training`` tables.
        columns: Regions to use, by name or index; None for all.
        val: Fraction of the tables for validation, without a directory ``val``.
        test: Fraction of the tables for test, without a directory ``test``.
        delimiter: Column delimiter: comma, semicolon, tab, bar, space or a character; None detects it.
        header: Whether the first row holds the region names; ``auto`` detects it.
        encoding: Character encoding of the tables.
        decimal: Decimal separator.
        thousands: Thousands separator; None for none.
        missing: Strings that count as missing values, case-insensitive.
        seed: Random seed of the split.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: Tables differ in regions, contain non-numeric cells or have a single step; there are fewer than two
            classes, or a class without a table in each split; the graph has other regions.
    """

    shapes = "x (B, T, N, F), edge_index (2, E), edge_weight (E), lengths (B) -> (B)"

    file_suffixes = FILE_EXTENSIONS
    reusable_values = MappingProxyType(
        {"regions": ("columns",), "links": ("columns", "graph", "top_k"), "scale": ("columns", "standardize")}
    )

    @classmethod
    def get_user_paths(cls, options: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Path]:
        """Add the tables that ``labels.csv`` lists, which may have any extension or be hidden files.

        Args:
            options: Options of the data set, as in the configuration.
            paths: Those of them that are ``DataPath``.
        """
        folder = paths["path"]
        if not os.path.isfile(folder / region_files.LABELS_FILE):
            return dict(paths)
        table = region_files.read_labels(folder)
        candidates = [
            region_files.table_path(folder, name) for name in table.columns[table.find_column("file", "path")]
        ]
        files = [path for path in candidates if path and os.path.isfile(path)]
        return dict(paths) | {f"path/{path.relative_to(folder).as_posix()}": path for path in files}

    def __init__(
        self,
        path: DataPath,
        graph: DataPath | None = None,
        top_k: PositiveInt = 8,
        standardize: Literal["table", "training"] = "table",
        columns: list[str | int] | None = None,
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        delimiter: str | None = None,
        header: Literal["auto"] | bool = "auto",
        encoding: str = "utf-8",
        decimal: Literal["point", "comma"] = "point",
        thousands: Thousands | None = None,
        missing: Sequence[str | float] = ("", "?", "na", "n/a", "nan", "null", "none", "-"),
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        cells = {"missing": missing, "decimal": decimal, "thousands": thousands}
        self.options = {"delimiter": delimiter, "header": header, "encoding": encoding, "columns": columns, **cells}
        table_format = self.table_format
        folder = Path(path).expanduser()
        tables, class_of_table, names = region_files.find_labeled_tables(folder)
        names, tables, labels = class_folders.restore_class_order(fitted, names, tables, class_of_table)
        splits = torch.tensor([split for _, split in tables])
        keys = class_folders.file_keys(folder, tables)
        rows = fitted.split_rows(keys, lambda: class_folders.split_every_class(splits, labels, names, val, test, seed))
        regions = _align_regions(fitted, [table_format.read(table, "path", columns) for table, _ in tables])
        runs = [torch.from_numpy(table.values) for table in regions]
        training = [runs[row] for row in rows[0].tolist()]

        find_mismatch = partial(_find_region_mismatch, fitted, runs[0].shape[1])
        read_graph = None if graph is None else lambda: table_format.read(Path(graph).expanduser(), "graph")
        graph_state = fitted.get_or_fit(
            "links", lambda: _fit_graph(training, top_k, regions[0], read_graph), find_mismatch
        )
        fitted.get_or_fit(
            "scale", lambda: _region_moments(torch.cat(training)) if standardize == "training" else None, find_mismatch
        )
        roles = graph_state["roles"]
        file_names = [table.relative_to(folder).as_posix() for table, _ in tables]
        self.train, self.val, self.test = (
            self._make_split(
                [runs[row] for row in part.tolist()], labels[part], [file_names[row] for row in part.tolist()]
            )
            for part in rows
        )
        self.info = DatasetInfo(
            sizes={
                "in_features": 1 + roles.shape[1],
                "num_nodes": len(roles),
                "seq_len": max(map(len, runs)),
                **class_sizes(len(names)),
            },
            baseline=baselines.majority_class(self.train, self.test, len(names)),
            class_names=names,
        )

    @property
    def table_format(self) -> RegionTableFormat:
        """Format of the tables of runs."""
        options = self.options
        cell_format = CellFormat.from_options(options)
        return RegionTableFormat(options["delimiter"], options["header"], options["encoding"], cell_format)

    def read(self, path: str) -> SplitWithSharedInputs:
        return next(self.read_chunks(path))

    def read_chunks(self, path: str, with_targets: bool = False) -> Iterator[SplitWithSharedInputs]:
        """Read runs of the regions of training, from a folder of tables or one table.

        Args:
            path: Folder with tables, in subfolders or not, or with ``labels.csv``; or a table.
            with_targets: Read the classes too, from the subfolders or from ``labels.csv``.

        Raises:
            DataError: A table has other regions, text or missing values, or with targets an unknown class.
        """
        files, labels = region_files.list_runs(path, with_labels=with_targets)
        target = None if labels is None else self._index_labels([name for _, name in files], labels)
        for chunk in torch.arange(len(files)).split(CHUNK_RUNS):
            tables = [self.table_format.read(files[row][0], "input", self.options["columns"]) for row in chunk.tolist()]
            runs = [torch.from_numpy(self._align(table).values) for table in tables]
            yield self._make_split(
                runs, None if target is None else target[chunk], [files[row][1] for row in chunk.tolist()]
            )

    def encode_rows(self, rows: Any) -> SplitWithSharedInputs:
        """Encode runs in memory.

        Args:
            rows: Array or data frame (T, N) of one run, or a list of them; columns of data frames are matched by name.

        Raises:
            DataError: A run has other regions, or values that are not finite.
        """
        tables = region_rows.to_tables(rows)
        return self._make_split([torch.from_numpy(self._align(table).values) for table in tables], None, None)

    def row_schema(self) -> dict[str, Any]:
        regions = self.info.sizes["num_nodes"]
        step = {"type": "array", "items": {"type": "number"}, "minItems": regions, "maxItems": regions}
        return {"type": "array", "items": step, "minItems": 2}

    def _index_labels(self, names: Sequence[str], labels: Sequence[str]) -> Tensor:
        """Return the class (N,) of each run. Raises DataError for an unknown one."""
        classes = list(self.info.class_names)
        unknown = [row for row, label in enumerate(labels) if label not in classes]
        if unknown:
            name, label = names[unknown[0]], labels[unknown[0]]
            raise DataError(
                f"input: {name}: {label!r} is not a class of this run ({join_names(classes, 10)})"
                f"{did_you_mean(label, classes)}; {len(unknown)} such runs"
            )
        return torch.tensor([classes.index(label) for label in labels])

    def _align(self, table: RegionTable) -> RegionTable:
        """Return a table with the regions of training, in their order. Raises DataError if some are missing."""
        assert self.fitted is not None
        return table.select_regions(self.fitted.get("regions"), len(self.fitted.get("links")["roles"]), "input")

    def _make_split(
        self, runs: Sequence[Tensor], target: Tensor | None, names: Sequence[str] | None
    ) -> SplitWithSharedInputs:
        """Return runs (T, N) with node features, on the graph of training."""
        assert self.fitted is not None
        links, scale = self.fitted.get("links"), self.fitted.get("scale")
        x = Ragged.from_rows(
            correlation.node_features(_standardize(run, scale or _region_moments(run)), links["roles"]) for run in runs
        )
        shared = {"edge_index": links["edge_index"], "edge_weight": links["edge_weight"]}
        return SplitWithSharedInputs(RaggedSplit({"x": x}, target, None if names is None else ("file", names)), shared)


def _find_region_mismatch(fitted: Preprocessing, num_regions: int, state: Mapping[str, Tensor]) -> str:
    """Describe how regions differ from those of another run, whose graph or moments are ``state``; empty if equal."""
    num_saved = len(state["roles" if "roles" in state else "mean"])
    mismatch = "" if num_regions == num_saved else f"{num_regions} regions instead of {num_saved}"
    return fitted.rejections.get("regions", mismatch)


def _align_regions(fitted: Preprocessing, runs: list[RegionTable]) -> list[RegionTable]:
    """Reorder regions as in the first table with region names, or as stored by a run."""
    too_short = next((run for run in runs if len(run.values) < 2), None)
    if too_short is not None:
        raise DataError(f"path: {too_short.path} has 1 step; correlations need at least 2")
    first = next((run for run in runs if run.names is not None), runs[0])

    def find_mismatch(saved_names: Sequence[str]) -> str:
        return "" if first.names is not None and {*saved_names} == {*first.names} else "other regions"

    names = fitted.get_or_fit("regions", lambda: first.names, find_mismatch)
    if (fitted.is_stored or "regions" in fitted.reused) and names is not None:
        first = replace(first.reorder_like(replace(first, names=names), "path"), names=names)
    return [run.reorder_like(first, "path") for run in runs]


def _fit_graph(
    training: Sequence[Tensor], top_k: int, tables: RegionTable, read_graph: Callable[[], RegionTable] | None
) -> dict[str, Tensor]:
    """Return edges, their weights and the roles of the nodes, by the strongest correlations or from a weight table."""
    strength = torch.stack([correlation.absolute_correlation(run) for run in training]).mean(0)
    edges = correlation.top_k_edges(strength, top_k)
    if read_graph is not None:
        edges = _edges_from_table(read_graph(), tables)
    roles = correlation.node_roles(strength, edges[0])
    return {"edge_index": edges[0], "edge_weight": edges[1], "roles": roles}


def _edges_from_table(graph: RegionTable, tables: RegionTable) -> tuple[Tensor, Tensor]:
    """Return edges and weights from a weight table (row to column) of the same regions as ``tables``."""
    height, width = graph.values.shape
    if height != width:
        raise DataError(
            f"graph: {graph.path} is {height} x {width}; it must be square, with one row and one column per region"
        )
    if (graph.values < 0).any():
        row, column = (graph.values < 0).nonzero()
        raise DataError(
            f"graph: {graph.path}: row {row[0] + 1}, column {column[0]}: {graph.values[row[0], column[0]]:g};"
            " weights must be >= 0 (for signed correlations, data.graph=null uses absolute values)"
        )
    columns_in_order = graph.reorder_like(tables, "graph")
    transpose = RegionTable(graph.path, columns_in_order.values.T, graph.names).reorder_like(tables, "graph")
    weights = torch.from_numpy(transpose.values.T.copy())
    edge_index = weights.nonzero().t().contiguous()
    return edge_index, weights[edge_index[0], edge_index[1]].float()


def _region_moments(run: Tensor) -> dict[str, Tensor]:
    """Return mean and standard deviation of each region in a run (T, N); the latter is infinite for a constant one."""
    std, mean = torch.std_mean(run, 0, correction=0)
    return {"mean": mean, "std": std.where(std > 1e-12 * mean.abs(), torch.inf)}


def _standardize(run: Tensor, moments: Mapping[str, Tensor]) -> Tensor:
    return (run - moments["mean"]) / moments["std"]
