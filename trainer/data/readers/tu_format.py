"""Graph collections in the TU format (Morris et al. 2020): ``NAME_A.txt`` and its companion files."""

from __future__ import annotations

import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.core.preprocessing import Preprocessing, RowKeys, make_content_keys
from trainer.data.encoding.column_encoding import MAX_EXACT_INTEGER
from trainer.data.readers import text_file
from trainer.data.readers.cell_parsing import FLOAT_MAX
from trainer.data.splits.ragged import Ragged
from trainer.utils.errors import DataError
from trainer.utils.text import join_names

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GraphCollection:
    """Graphs of one TU data set, with nodes and edges sorted by graph.

    Labels and attributes have no columns if the file is missing.

    Args:
        node_codes: One-hot node labels, (N, L).
        node_values: Node attributes, (N, A).
        edges: Node indices within the graph, (E, 2).
        edge_codes: One-hot edge labels, (E, L).
        edge_values: Edge attributes, (E, A).
        label: Index into ``classes``, (G,); None if the labels were not read.
        classes: Class names.
    """

    node_codes: Ragged
    node_values: Ragged
    edges: Ragged
    edge_codes: Ragged
    edge_values: Ragged
    label: Tensor | None
    classes: list[str]

    def require_label(self) -> Tensor:
        """Return the labels.

        Raises:
            ValueError: They were not read.
        """
        if self.label is None:
            raise ValueError("these graphs have no labels")
        return self.label

    def graph_keys(self) -> RowKeys:
        """Return a key (G,) for each graph from its edges, nodes and class."""
        parts = (self.node_codes, self.node_values, self.edges, self.edge_codes, self.edge_values)
        rows = zip(self.require_label(), *(part.values.split(part.lengths.tolist()) for part in parts), strict=True)
        return make_content_keys(b"|".join(part.numpy().tobytes() for part in row) for row in rows)


def find_collection(path: str, name: str | None) -> tuple[Path, str]:
    """Return the folder and name of a data set; the name may be omitted if the folder has a single one.

    Args:
        path: Folder from the user.
        name: Name of the data set, or None.

    Raises:
        DataError: The folder is missing, has no data set, or several and no name is given.
    """
    root = text_file.check_folder(path, "give the folder of NAME_A.txt and its companion files")
    # An extracted data set has its files in NAME; PyTorch Geometric uses NAME/raw.
    candidates = [root, root / "raw", *((root / name, root / name / "raw") if name else ())]
    folder = next((candidate for candidate in candidates if _list_collections(candidate)), root)
    names = _list_collections(folder)
    if name is None and len(names) == 1:
        return folder, names[0]
    if name in names:
        return folder, str(name)
    contents = f"it has {join_names(names)}" if names else "it has no file NAME_A.txt"
    hint = "give data.name" if name is None else f"there is no {name}_A.txt"
    raise DataError(f"path: {folder.absolute()}: {contents}; {hint}")


def _list_collections(folder: Path) -> list[str]:
    """List the names of the data sets in a folder, without hidden files."""
    names = (file.name for file in folder.glob("*_A.txt"))
    return sorted(name.removesuffix("_A.txt") for name in names if not name.startswith("."))


def read(folder: Path, name: str, fitted: Preprocessing, *, with_labels: bool = True) -> GraphCollection:
    """Read the data set ``name`` in a folder.

    ``_A`` has one edge per line, ``source, target``, with nodes numbered from 1 over all graphs; ``_graph_indicator``
    the graph of each node, from 1 and sorted; ``_graph_labels`` the class of each graph. ``_node_labels`` and
    ``_edge_labels`` (integers), ``_node_attributes`` and ``_edge_attributes`` (numbers) are optional, with one line per
    node or edge.

    Args:
        folder: Folder with the files.
        name: Name of the data set.
        fitted: Preprocessing, which stores the labels of a run.
        with_labels: Read ``_graph_labels``; otherwise it may be missing.

    Raises:
        DataError: A file violates this format; the message has file and line.
    """
    paths = {part: folder / f"{name}_{part}.txt" for part in ("A", "graph_indicator", "graph_labels")}
    pairs = _read_numbers(paths["A"], integers=True, columns=2) - 1
    graph = _read_numbers(paths["graph_indicator"], integers=True, columns=1)[:, 0] - 1
    label = _read_numbers(paths["graph_labels"], integers=True, columns=1)[:, 0] if with_labels else None
    num_graphs = int(graph[-1]) + 1 if label is None else len(label)
    _check_graphs(paths["graph_indicator"], graph, num_graphs)
    _check_edges(paths["A"], pairs, graph)

    sizes = graph.bincount(minlength=num_graphs)
    order = graph[pairs[:, 0]].argsort(stable=True)
    edges_of = graph[pairs[:, 0]].bincount(minlength=num_graphs)
    first = sizes.cumsum(0) - sizes

    def read_part(part: str, integers: bool, rows: int) -> Tensor:
        return _read_optional(folder / f"{name}_{part}.txt", integers, rows)

    nodes, edges = len(graph), len(pairs)
    classes = _find_classes(fitted, label, paths["graph_labels"])
    return GraphCollection(
        Ragged(_one_hot(fitted, "node_labels", read_part("node_labels", True, nodes)), sizes),
        Ragged(read_part("node_attributes", False, nodes).float(), sizes),
        Ragged((pairs - first[graph[pairs[:, 0]]][:, None])[order], edges_of),
        Ragged(_one_hot(fitted, "edge_labels", read_part("edge_labels", True, edges))[order], edges_of),
        Ragged(read_part("edge_attributes", False, edges).float()[order], edges_of),
        None if label is None else torch.tensor([classes.index(str(value)) for value in label.tolist()]),
        classes,
    )


def _find_classes(fitted: Preprocessing, label: Tensor | None, path: Path) -> list[str]:
    """Return the class names. Raises DataError for labels that a saved run does not have."""
    found = [] if label is None else [str(int(value)) for value in label.unique()]
    classes: list[str] = fitted.get_or_fit("classes", lambda: found)
    unknown = sorted(set(found) - set(classes))
    if unknown:
        raise DataError(f"path: {path}: this run has no class {', '.join(unknown)}")
    return classes


def _read_numbers(path: Path, integers: bool, columns: int | None = None) -> Tensor:
    """Read a matrix of numbers, one row per line: int64 if ``integers``, else float64."""
    lines = text_file.read(path, "path").rstrip().split("\n")
    table = np.zeros((0, 0))
    with suppress(ValueError):  # the checks below give a better message than numpy
        table = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None) if any(lines) else table
    # Beyond MAX_EXACT_INTEGER distinct integers may be equal as float64.
    invalid = ~(np.abs(table) <= (MAX_EXACT_INTEGER - 1 if integers else FLOAT_MAX)) | (
        integers & (table != np.round(table))
    )
    fits = len(table) == len(lines) and columns in (None, table.shape[1])
    if not fits or invalid.any():
        raise DataError(_find_bad_line(path, lines, integers, columns))
    return torch.from_numpy(table).long() if integers else torch.from_numpy(table)


def _find_bad_line(path: Path, lines: list[str], integers: bool, columns: int | None) -> str:
    """Describe the first invalid line."""
    columns = columns or len(lines[0].split(","))
    expected = f"{columns} {'integer' if integers else 'number'}{'s' if columns > 1 else ''}"

    def is_valid(cell: str) -> bool:
        try:
            value = float(cell)
        except ValueError:
            return False
        limit = MAX_EXACT_INTEGER - 1 if integers else FLOAT_MAX
        return cell.isascii() and "_" not in cell and abs(value) <= limit and not (integers and value % 1)

    rows = (line.split(",") for line in lines)
    number = next(i for i, row in enumerate(rows, 1) if len(row) != columns or not all(map(is_valid, row)))
    return f"path: {path}:{number}: expected {expected}, found {text_file.quote_cell(lines[number - 1])}"


def _read_optional(path: Path, integers: bool, rows: int) -> Tensor:
    """Read an optional file with one line per node or edge; (rows, 0) without it."""
    if not path.exists():
        return torch.zeros(rows, 0)
    values = _read_numbers(path, integers)
    if len(values) != rows:
        kind = "nodes" if "_node_" in path.name else "edges"
        raise DataError(f"path: {path}: {len(values)} lines for {rows} {kind}")
    return values


def _one_hot(fitted: Preprocessing, name: str, labels: Tensor) -> Tensor:
    """One-hot encode each column of labels (N, K) to (N, L); labels unknown to a saved run are zeros."""

    def find_mismatch(codes: list[Tensor]) -> str:
        if len(codes) != labels.shape[1]:
            return f"{labels.shape[1]} columns instead of {len(codes)}"
        is_new = (~torch.isin(*pair) for pair in zip(labels.unbind(1), codes, strict=True))
        return "new labels" if any(bool(each.any()) for each in is_new) else ""

    known_codes = fitted.get_or_fit(name, lambda: [column.unique() for column in labels.unbind(1)], find_mismatch)
    if len(known_codes) != labels.shape[1]:
        raise DataError(f"path: {labels.shape[1]} columns of {name}; this run has {len(known_codes)}")
    encoded = [(column[:, None] == codes).float() for column, codes in zip(labels.unbind(1), known_codes, strict=True)]
    if num_unknown := sum(int((codes.sum(1) == 0).sum()) for codes in encoded):
        log.warning("%d %s are unknown to this run", num_unknown, name)
    return torch.cat(encoded, 1) if encoded else torch.zeros(len(labels), 0)


def _check_graphs(path: Path, graph: Tensor, num_graphs: int) -> None:
    step = graph.diff(prepend=torch.tensor([-1]))
    invalid = (graph < 0) | (graph >= num_graphs) | (step < 0) | (step > 1)
    if invalid.any():
        node = int(invalid.nonzero()[0])
        raise DataError(
            f"path: {path}:{node + 1}: graph {int(graph[node]) + 1}, but graphs must be 1..{num_graphs}, sorted and"
            " with at least one node"
        )
    if int(graph[-1]) + 1 != num_graphs:
        raise DataError(f"path: {path}: nodes of {int(graph[-1]) + 1} graphs, but {num_graphs} have labels")


def _check_edges(path: Path, pairs: Tensor, graph: Tensor) -> None:
    is_invalid = ((pairs < 0) | (pairs >= len(graph))).any(1)
    if is_invalid.any():
        edge = int(is_invalid.nonzero()[0])
        source, target = (pairs[edge] + 1).tolist()
        raise DataError(f"path: {path}:{edge + 1}: edge {source}, {target}, but nodes are 1..{len(graph)}")
    is_cross_edge = graph[pairs[:, 0]] != graph[pairs[:, 1]]
    if is_cross_edge.any():
        edge = int(is_cross_edge.nonzero()[0])
        first_graph, second_graph = (graph[pairs[edge]] + 1).tolist()
        raise DataError(f"path: {path}:{edge + 1}: the edge connects graph {first_graph} with graph {second_graph}")
