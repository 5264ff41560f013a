"""Region time series (e.g. parcellated BOLD), one table per run, as node features on a shared graph."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
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
from trainer.data.encoding import correlation
from trainer.data.readers import class_folders, delimited, download
from trainer.data.readers.cell_parsing import CellFormat
from trainer.data.readers.region_tables import FILE_EXTENSIONS, RegionTable, RegionTableFormat
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.ragged import Ragged, RaggedSplit
from trainer.utils.errors import DataError

LABELS_FILE = "labels.csv"


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
        if not os.path.isfile(folder / LABELS_FILE):
            return dict(paths)
        table = _read_labels(folder)
        candidates = [_table_path(folder, name) for name in table.columns[table.find_column("file", "path")]]
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
        fmt = CellFormat.from_options({"missing": missing, "decimal": decimal, "thousands": thousands})
        table_format = RegionTableFormat(delimiter, header, encoding, fmt)
        folder = Path(path).expanduser()
        tables, class_of_table, names = _find_labeled_tables(folder)
        names, tables, labels = class_folders.restore_class_order(fitted, names, tables, class_of_table)
        splits = torch.tensor([split for _, split in tables])
        keys = class_folders.file_keys(folder, tables)
        rows = fitted.split_rows(keys, lambda: class_folders.split_every_class(splits, labels, names, val, test, seed))
        regions = _align_regions(fitted, [table_format.read(table, "path", columns) for table, _ in tables])
        runs = [torch.from_numpy(table.values) for table in regions]

        training = [runs[row] for row in rows[0].tolist()]

        def fit_graph() -> dict[str, Tensor]:
            strength = torch.stack([correlation.absolute_correlation(run) for run in training]).mean(0)
            edges = correlation.top_k_edges(strength, top_k)
            if graph is not None:
                edges = _edges_from_table(table_format.read(Path(graph).expanduser(), "graph"), regions[0])
            roles = correlation.node_roles(strength, edges[0])
            return {"edge_index": edges[0], "edge_weight": edges[1], "roles": roles}

        find_mismatch = partial(_find_region_mismatch, fitted, runs[0].shape[1])
        graph_state = fitted.get_or_fit("links", fit_graph, find_mismatch)
        scale = fitted.get_or_fit(
            "scale", lambda: _region_moments(torch.cat(training)) if standardize == "training" else None, find_mismatch
        )
        roles = graph_state["roles"]
        x = Ragged.from_rows(
            correlation.node_features(_standardize(run, scale or _region_moments(run)), roles) for run in runs
        )
        shared = {"edge_index": graph_state["edge_index"], "edge_weight": graph_state["edge_weight"]}
        self.train, self.val, self.test = (
            SplitWithSharedInputs(RaggedSplit({"x": x.select_rows(part)}, labels[part]), shared) for part in rows
        )
        self.info = DatasetInfo(
            sizes={
                "in_features": 1 + roles.shape[1],
                "num_nodes": len(roles),
                "seq_len": int(x.lengths.max()),
                **class_sizes(len(names)),
            },
            baseline=baselines.majority_class(self.train, self.test, len(names)),
            class_names=names,
        )


def _find_region_mismatch(fitted: Preprocessing, num_regions: int, state: Mapping[str, Tensor]) -> str:
    """Describe how regions differ from those of another run, whose graph or moments are ``state``; empty if equal."""
    num_saved = len(state["roles" if "roles" in state else "mean"])
    mismatch = "" if num_regions == num_saved else f"{num_regions} regions instead of {num_saved}"
    return fitted.rejections.get("regions", mismatch)


def _find_labeled_tables(folder: Path) -> tuple[list[tuple[Path, int]], Sequence[str], list[str]]:
    """Return tables with their splits (0..2, from the directory), the class of each and the names of the classes."""
    if not os.path.isfile(folder / LABELS_FILE):
        if folder.is_dir() and class_folders.list_files(folder, FILE_EXTENSIONS):
            raise DataError(
                f"path: {folder.absolute()} has tables but no {LABELS_FILE}; add it, with columns file and"
                " label, or one folder of tables per class"
            )
        tables, names = class_folders.find_labeled_files(folder, FILE_EXTENSIONS)
        return tables, [path.parent.name for path, _ in tables], names
    table = _read_labels(folder)
    file_column, label_column = (table.find_column(name, "path") for name in ("file", "label"))
    file_names, labels = table.columns[file_column], table.columns[label_column]
    paths: dict[Path, int] = {}
    for row, (name, label) in enumerate(zip(file_names, labels, strict=True)):
        if not name or not label:
            raise DataError(f"{table.describe_cell(row, label_column if name else file_column)}: missing value")
        path = _table_path(folder, name)
        if path is None:
            raise DataError(
                f"{table.describe_cell(row, file_column)}: {name!r} is outside of {folder.absolute()}; every table "
                "must be in this folder, so that a run can identify it; move or link it there, or set data.path to a"
                " parent folder"
            )
        if paths.setdefault(path, row) != row:
            raise DataError(f"{table.describe_cell(row, file_column)}: duplicate file {name!r}")
        if not os.path.isfile(path):
            raise download.missing_file_error(path)
    names = sorted(set(labels))
    if len(names) < 2:
        raise DataError(f"path: {table.path} has a single label, {names[0]!r}; at least two are needed")
    return [(path, 0) for path in paths], labels, names


def _read_labels(folder: Path) -> delimited.Table:
    return delimited.read(str(folder / LABELS_FILE), "path", None, "auto", "utf-8", ("file",))


def _table_path(folder: Path, name: str) -> Path | None:
    """Return the path of a table by its relative or absolute name in ``labels.csv``; None outside of the folder."""
    relative_path = os.path.relpath(folder / name, folder)
    if relative_path.split(os.sep)[0] == os.pardir:
        return None
    return folder / (relative_path if os.path.isabs(name) else name)


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
