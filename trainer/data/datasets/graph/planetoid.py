"""Planetoid citation networks: bag-of-words features, citation edges, subject classes."""

from __future__ import annotations

import pickle
from collections import defaultdict
from pathlib import Path
from typing import IO, Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.readers.download import Source, fetch_files
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import make_node_splits, node_graph_sizes
from trainer.data.splits.neighbor_sampler import neighbor_batches
from trainer.utils.errors import DataError

URL = "https://raw.githubusercontent.com/kimiyoung/planetoid/af6abf468a772cc055bec88c52e4d6f51b7c37e3/data/"
SHA256 = {
    "cora": {
        "allx": "9419ba2f26f5c35243db64aba110e0f35a04851609e0dc5433450676ca6b8543",
        "ally": "2b998f5cc7fedc86e7f97ca2498f47a1ffc1462c29e2d578b23bf3f62b6e7d71",
        "graph": "58f13302f39dde8852dad6fe6d15b89b077b6d7f837626bce671ef80344b383d",
        "test.index": "297ce89af2b51a6a194181c7dbe1796c6a1cf9cd9349a88383b1b1e227867875",
        "tx": "b9afbaa4a400df991f6f02ef677e1e44da55ffc04801fd02f9e673987829226a",
        "ty": "41f5ac76596a1699cc33f53084a2419e92961c42bb75f36fc38e616d348532ad",
        "x": "23cfa55d91c6f624233f5eb7b6e3f141f1bd2b2ae39608a63cf5d084bb27baab",
        "y": "94465c14eb53e04ca262198dcbb2521ee8af60fb3f3d546cd6ca24a511b0e7d1",
    },
    "citeseer": {
        "allx": "2ac30345d95c9ec933a817ee0bdd6a5f077f8c184a20e696910192d534414668",
        "ally": "f704b2d986dde6c2669934de1f3ae5696a6cf9455c0f6b2646a2d135ea0a1c95",
        "graph": "d79a4ef9d3e7169aee8946145f6b7306e35bc79bffad26346cfb94e10e9912a7",
        "test.index": "2af990671580b6b2df5d158d1038f8292e30c9cd821b5453f399659b25b723d4",
        "tx": "539a8906a2da97628d212f2fdd668c109a8b3f0d36574b59e5d3fd5b5303da21",
        "ty": "55e5bd1ba1e733a04598753ad1a8d57957f4b8f89e74519f41f4f4938767e4ce",
        "x": "d20de19150741e555de0ed037195630fc194114ebc7fd72ced62810148aa22f6",
        "y": "8ba87e515d8e3ee3cf52f6d2c5b86aa73f11ecad825a808455209ec26cd54924",
    },
}
NUM_VAL_NODES = 500
"""Validation nodes; they follow the labeled ones in the files."""


class Planetoid(GraphDataset):
    """Cora and Citeseer citation networks with the public split.

    20 training nodes per class, 500 for validation, 1000 for test. Edges are undirected; duplicates and self-loops in
    the files are removed. A node without a paper (15 in Citeseer) has neither features nor class.

    Args:
        name: Name of the network.
        row_normalize: Scale the features of each node to sum to 1.
        num_neighbors: Number of sampled neighbors per layer for training batches (``NeighborSplit``); validation and
            test use the whole graph. None for full-batch training.
        seed: Random seed of the neighbor samples.
        data_dir: Parent directory of ``NAME/``; None for the default data directory.

    References:
        Sen et al. 2008, Collective Classification in Network Data, AI Magazine 29(3).
        Yang, Cohen and Salakhutdinov 2016, Revisiting Semi-Supervised Learning with Graph Embeddings, ICML (splits).
    """

    shapes = "x (N, F), edge_index (2, E) -> (N)"

    def __init__(
        self,
        name: Literal["cora", "citeseer"],
        row_normalize: bool = True,
        num_neighbors: list[PositiveInt] | None = None,
        seed: NonNegativeInt = 0,
        data_dir: str | None = None,
    ):
        prefix = f"{name.capitalize()}/raw/ind.{name}."
        sources = [Source(prefix + part, sha, f"{URL}ind.{name}.{part}") for part, sha in SHA256[name].items()]
        folder = fetch_files(name, sources, data_dir)
        files = {part: folder / (prefix + part) for part in SHA256[name]}
        x, label, num_labeled, test_nodes = _read_nodes(files)
        if row_normalize:
            x /= x.sum(1, keepdim=True).clamp(min=1)
        inputs = {"x": x, "edge_index": _read_edges(_unpickle(files["graph"]), len(x))}

        rows = torch.arange(num_labeled), torch.arange(num_labeled, num_labeled + NUM_VAL_NODES), test_nodes
        train, self.val, self.test = make_node_splits(inputs, label, rows)
        self.train = neighbor_batches(train, num_neighbors, seed)
        classes = int(label.max()) + 1
        self.info = DatasetInfo(
            sizes=node_graph_sizes(x, classes),
            baseline=baselines.majority_class(self.train, self.test, classes),
        )


def _read_nodes(files: dict[str, Path]) -> tuple[Tensor, Tensor, int, Tensor]:
    """Return features (N, F), classes (N,), the number of labeled training nodes and the test nodes (1000,)."""
    other_x, other_one_hot, test_x, test_one_hot, train_one_hot = (
        _to_dense(_unpickle(files[part])) for part in ("allx", "ally", "tx", "ty", "y")
    )
    order = torch.tensor([int(line) for line in files["test.index"].read_text().split()])
    # Rows of tx are in the order of test.index; indices in its range that are missing from it have no paper.
    nodes = int(order.max()) + 1
    x = torch.zeros(nodes, other_x.shape[1]).index_copy(0, order, test_x)
    one_hot = torch.zeros(nodes, other_one_hot.shape[1]).index_copy(0, order, test_one_hot)
    x[: len(other_x)], one_hot[: len(other_x)] = other_x, other_one_hot
    return x, one_hot.argmax(1).where(one_hot.any(1), IGNORE_INDEX), len(train_one_hot), order.sort().values


def _read_edges(adjacency: dict[int, list[int]], nodes: int) -> Tensor:
    """Return both directions of every edge once, without self-loops: (2, E), sorted by source and target."""
    pairs = torch.tensor([(i, j) for i, targets in adjacency.items() for j in targets if i != j]).t()
    keys = torch.cat((pairs[0] * nodes + pairs[1], pairs[1] * nodes + pairs[0])).unique()
    return torch.stack((keys // nodes, keys % nodes))


class _CSRMatrix:
    """State of a pickled scipy CSR matrix: indptr, indices, data and _shape."""

    def to_dense(self) -> np.ndarray[Any, Any]:
        state = vars(self)
        dense = np.zeros(state["_shape"], dtype=np.float32)
        dense[np.repeat(np.arange(len(dense)), np.diff(state["indptr"])), state["indices"]] = state["data"]
        return dense


def _to_dense(matrix: _CSRMatrix | np.ndarray[Any, Any]) -> Tensor:
    return torch.from_numpy(
        matrix.to_dense() if isinstance(matrix, _CSRMatrix) else np.asarray(matrix, dtype=np.float32)
    )


class _RestrictedUnpickler(pickle.Unpickler):
    """Unpickler for arrays, sparse matrices and lists only; all other classes are rejected."""

    allowed: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy.core.multiarray", "_reconstruct"): np.empty(0).__reduce__()[0],
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        ("scipy.sparse.csr", "csr_matrix"): _CSRMatrix,
        ("collections", "defaultdict"): defaultdict,
        ("__builtin__", "list"): list,
        ("builtins", "list"): list,
    }

    def __init__(self, file: IO[bytes]):
        super().__init__(file, encoding="latin1")

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.allowed:
            raise pickle.UnpicklingError(f"class {module}.{name} is not allowed")
        return self.allowed[module, name]


def _unpickle(path: Path) -> Any:
    """Load a pickle file without executing code from it. Raises DataError for anything that is not data."""
    try:
        with path.open("rb") as file:
            return _RestrictedUnpickler(file).load()
    except (pickle.UnpicklingError, EOFError, AttributeError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"data: {path} rejected: {error}") from error
