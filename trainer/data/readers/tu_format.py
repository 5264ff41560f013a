"""Graphs in the text files of the TU collection (Morris et al. 2020): ``NAME_A.txt`` and those beside it."""

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
from trainer.data.splits.ragged import Ragged
from trainer.utils.errors import ConfigError

log = logging.getLogger(__name__)

FLOAT_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class GraphCollection:
    """What the files of one set say, nodes and edges in the order of their graphs.

    node_codes, edge_codes: one-hot labels, (N, L) and (E, L); node_values, edge_values: attributes; each with as many
    columns as the files have, 0 if none. edges: (E, 2), numbered within their graph. label: (G,), by place in
    ``classes``.
    """

    node_codes: Ragged
    node_values: Ragged
    edges: Ragged
    edge_codes: Ragged
    edge_values: Ragged
    label: Tensor
    classes: list[str]

    def graph_keys(self) -> RowKeys:
        """A key (G,) for each graph, by its edges, its nodes and its class."""
        parts = (self.node_codes, self.node_values, self.edges, self.edge_codes, self.edge_values)
        rows = zip(self.label, *(part.values.split(part.lengths.tolist()) for part in parts), strict=True)
        return make_content_keys(b"|".join(part.numpy().tobytes() for part in row) for row in rows)


def find_collection(path: str, name: str | None) -> tuple[Path, str]:
    """The folder of a set and its name: the one given, or that of the only set in the folder.

    Raises ConfigError for a folder that is not there, or holds no set or several and none was named.
    """
    given = text_file.check_folder(path, "give the folder of NAME_A.txt and the files beside it")
    # An unpacked set has its files in NAME, and as PyTorch Geometric lays it out in NAME/raw.
    inside = [given, given / "raw", *((given / name, given / name / "raw") if name else ())]
    folder = next((place for place in inside if _list_collections(place)), given)
    lying = _list_collections(folder)
    if name is None and len(lying) == 1:
        return folder, lying[0]
    if name in lying:
        return folder, str(name)
    there = f"it has {text_file.join_names(lying)}" if lying else "it has no file NAME_A.txt"
    wanted = "give data.name" if name is None else f"there is no {name}_A.txt"
    raise ConfigError(f"data.path: {folder.absolute()}: {there}; {wanted}")


def _list_collections(folder: Path) -> list[str]:
    """Of the sets in a folder; hidden files are not meant."""
    found = (file.name for file in folder.glob("*_A.txt"))
    return sorted(name.removesuffix("_A.txt") for name in found if not name.startswith("."))


def read(folder: Path, name: str, fitted: Preprocessing) -> GraphCollection:
    """The set ``name`` in a folder.

    ``_A`` has an edge a line, ``source, target``, nodes counted from 1 through all graphs; ``_graph_indicator`` the
    graph of each node, counted from 1 and in order; ``_graph_labels`` the class of each graph. ``_node_labels`` and
    ``_edge_labels`` (whole numbers), ``_node_attributes`` and ``_edge_attributes`` (numbers) may be missing, and have
    a line for each node or edge. Raises ConfigError with file and line for whatever is not so.
    """
    place = {part: folder / f"{name}_{part}.txt" for part in ("A", "graph_indicator", "graph_labels")}
    pairs = _read_numbers(place["A"], whole=True, columns=2) - 1
    graph = _read_numbers(place["graph_indicator"], whole=True, columns=1)[:, 0] - 1
    label = _read_numbers(place["graph_labels"], whole=True, columns=1)[:, 0]
    _check_graphs(place["graph_indicator"], graph, len(label))
    _check_edges(place["A"], pairs, graph)

    sizes = graph.bincount(minlength=len(label))
    order = graph[pairs[:, 0]].argsort(stable=True)
    edges_of = graph[pairs[:, 0]].bincount(minlength=len(label))
    first = sizes.cumsum(0) - sizes

    def told(part: str, whole: bool, rows: int) -> Tensor:
        return _read_optional(folder / f"{name}_{part}.txt", whole, rows)

    nodes, edges = len(graph), len(pairs)
    classes = fitted.get_or_fit("classes", lambda: [str(int(value)) for value in label.unique()])
    strange = sorted({str(int(value)) for value in label.unique()} - set(classes))
    if strange:
        raise ConfigError(f"data.path: {place['graph_labels']}: this run knows no class {', '.join(strange)}")
    label = torch.tensor([classes.index(str(value)) for value in label.tolist()])
    return GraphCollection(
        Ragged(_one_hot(fitted, "node_labels", told("node_labels", True, nodes)), sizes),
        Ragged(told("node_attributes", False, nodes).float(), sizes),
        Ragged((pairs - first[graph[pairs[:, 0]]][:, None])[order], edges_of),
        Ragged(_one_hot(fitted, "edge_labels", told("edge_labels", True, edges))[order], edges_of),
        Ragged(told("edge_attributes", False, edges).float()[order], edges_of),
        label,
        classes,
    )


def _read_numbers(path: Path, whole: bool, columns: int | None = None) -> Tensor:
    """A row of numbers for each line of a file: int64 if they must be ``whole``, else float64."""
    lines = text_file.read(path, "data.path").rstrip().split("\n")
    table = np.zeros((0, 0))
    with suppress(ValueError):  # of numpy; what follows tells it in our words
        table = np.loadtxt(lines, delimiter=",", ndmin=2, comments=None) if any(lines) else table
    # Beyond WHOLE two whole numbers may be one float64.
    wrong = ~(np.abs(table) <= (MAX_EXACT_INTEGER - 1 if whole else FLOAT_MAX)) | (whole & (table != np.round(table)))
    fits = len(table) == len(lines) and columns in (None, table.shape[1])
    if not fits or wrong.any():
        raise ConfigError(_find_bad_line(path, lines, whole, columns))
    return torch.from_numpy(table).long() if whole else torch.from_numpy(table)


def _find_bad_line(path: Path, lines: list[str], whole: bool, columns: int | None) -> str:
    """The first line that is not what it should be."""
    columns = columns or len(lines[0].split(","))
    wanted = f"{columns} {'whole ' if whole else ''}number{'s' if columns > 1 else ''}"

    def good(cell: str) -> bool:
        try:
            value = float(cell)
        except ValueError:
            return False
        limit = MAX_EXACT_INTEGER - 1 if whole else FLOAT_MAX
        return cell.isascii() and "_" not in cell and abs(value) <= limit and not (whole and value % 1)

    rows = (line.split(",") for line in lines)
    at = next(i for i, row in enumerate(rows, 1) if len(row) != columns or not all(map(good, row)))
    return f"data.path: {path}:{at}: expected {wanted}, found {text_file.quote_cell(lines[at - 1])}"


def _read_optional(path: Path, whole: bool, rows: int) -> Tensor:
    """What a file says of every node or edge; nothing, (rows, 0), where there is no such file."""
    if not path.exists():
        return torch.zeros(rows, 0)
    found = _read_numbers(path, whole)
    if len(found) != rows:
        kind = "nodes" if "_node_" in path.name else "edges"
        raise ConfigError(f"data.path: {path}: {len(found)} lines for {rows} {kind}")
    return found


def _one_hot(fitted: Preprocessing, name: str, labels: Tensor) -> Tensor:
    """(N, K) to (N, L): every column's own labels, in order; labels that a stored run does not know are nothing."""
    known = fitted.get_or_fit(name, lambda: [column.unique() for column in labels.unbind(1)])
    if len(known) != labels.shape[1]:
        raise ConfigError(f"data.path: {labels.shape[1]} columns of {name}; this run has {len(known)}")
    found = [(column[:, None] == codes).float() for column, codes in zip(labels.unbind(1), known, strict=True)]
    if strange := sum(int((codes.sum(1) == 0).sum()) for codes in found):
        log.warning("%d %s are none that this run knows", strange, name)
    return torch.cat(found, 1) if found else torch.zeros(len(labels), 0)


def _check_graphs(path: Path, graph: Tensor, graphs: int) -> None:
    step = graph.diff(prepend=torch.tensor([-1]))
    wrong = (graph < 0) | (graph >= graphs) | (step < 0) | (step > 1)
    if wrong.any():
        at = int(wrong.nonzero()[0])
        raise ConfigError(
            f"data.path: {path}:{at + 1}: graph {int(graph[at]) + 1}, but graphs are 1..{graphs}, in order and none"
            " without a node"
        )
    if int(graph[-1]) + 1 != graphs:
        raise ConfigError(f"data.path: {path}: nodes of {int(graph[-1]) + 1} graphs, but {graphs} have labels")


def _check_edges(path: Path, pairs: Tensor, graph: Tensor) -> None:
    outside = ((pairs < 0) | (pairs >= len(graph))).any(1)
    if outside.any():
        at = int(outside.nonzero()[0])
        source, target = (pairs[at] + 1).tolist()
        raise ConfigError(f"data.path: {path}:{at + 1}: edge {source}, {target}, but nodes are 1..{len(graph)}")
    across = graph[pairs[:, 0]] != graph[pairs[:, 1]]
    if across.any():
        at = int(across.nonzero()[0])
        one, other = (graph[pairs[at]] + 1).tolist()
        raise ConfigError(f"data.path: {path}:{at + 1}: the edge goes from graph {one} to graph {other}")
