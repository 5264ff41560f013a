"""Graph classification data sets of the TU collection (Morris et al. 2020)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core.class_sizes import class_sizes
from trainer.core.dataset_info import DatasetInfo
from trainer.core.preprocessing import Preprocessing
from trainer.core.split import Split
from trainer.core.types import DataPath, NonNegativeInt, PositiveInt
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.encoding.graph_objects import list_graphs
from trainer.data.encoding.input_errors import name_input
from trainer.data.encoding.standardization import tensor_mean_and_scale
from trainer.data.readers import tu_format
from trainer.data.readers.download import Source, fetch_files
from trainer.data.reference import baselines
from trainer.data.splits import splitting
from trainer.data.splits.graph_batches import GraphsSplit
from trainer.data.splits.ragged import Ragged
from trainer.data.splits.whole_graphs import graph_sizes, make_graph_splits
from trainer.utils.errors import DataError

FEATURE_VALUES = ("node_labels", "edge_labels", "node_scale", "edge_scale")
"""Fitted values that encode nodes and edges."""
URL = (
    "https://raw.githubusercontent.com/XuelinHu/Matrix-ResGNN-GraphClassificatio/"
    "f76543d8bd82c7ebe1c16f59d9219d038c62ac8e/data/TUDataset/"
)
SHA256 = {
    "MUTAG": {
        "A": "d9656ca7493f3445d737c711710bb36fd432dddd1c0ea32e1d4713c86ebd28e2",
        "edge_labels": "4669ce755075ff86c3240709345745886400908fa637a49310459b9c267b3e56",
        "graph_indicator": "7d520a4d6c7961c0cdeabe076d8fe27e795b6d373485c9a2b744987e560a2056",
        "graph_labels": "a1518ea39ba3426bd42f57396b9c4baffe68e9adc718caeeab0119c6591a5f2c",
        "node_labels": "678f429965490e84dd27713017538c995fc05d1621beac910848b600015ee863",
    },
    "PROTEINS": {
        "A": "4c4b33e272fc95cac6d27ed6d5d12b9a852c8610e91fff59f8f0dbdd5a20df67",
        "graph_indicator": "8d4ff1e852a5c28561e9bffb44cf9490bc552b13a3b6156dd12dc7f44e9afc4a",
        "graph_labels": "c0ef9810c440775252872318d0c8adc385588e14bc4c47a2c34aa96ee3c7cdcd",
        "node_attributes": "54eef829abb37e458a5fbf3a3c581e48e5810e220463c2cd951856b9ceb08f07",
        "node_labels": "f758e8ad3d6e3c026b50833d75f6f90735b94eb3345e4243707f495ca8afea8d",
    },
}


class TU(GraphDataset):
    """Graph classification data set in the TU format.

    Node and edge labels are one-hot, attributes have mean 0 and standard deviation 1 over the training graphs; nodes
    without either have their degree as feature.

    Args:
        path: Directory with ``NAME_A.txt``, ``NAME_graph_indicator.txt``, ``NAME_graph_labels.txt``, ...
        name: NAME, where the directory holds several data sets.
        fold: Test fold of a stratified cross-validation, 0 to ``folds - 1``; the next fold is for validation, the
            others for training.
        folds: Number of folds, 3 to the number of graphs.
        seed: Random seed of the folds.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: ``fold`` out of range, fewer than three folds or more than graphs, or an invalid file (see
            ``tu_format.read``).

    References:
        Morris et al. 2020, TUDataset: A Collection of Benchmark Datasets for Learning with Graphs, ICML GRL+ workshop.
    """

    shapes = "x (N, F), edge_index (2, E), sizes (G), edge_attr (E, D) -> (G)"

    file_suffixes = (".txt",)
    reusable_values = MappingProxyType(dict.fromkeys(FEATURE_VALUES, ("name",)))

    def __init__(
        self,
        path: DataPath,
        name: str | None = None,
        fold: NonNegativeInt = 0,
        folds: PositiveInt = 10,
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        self.options = {"name": name}
        collection = tu_format.read(*tu_format.find_collection(path, name), fitted)
        label = collection.require_label()
        num_graphs = len(label)
        if folds < 3 or folds > num_graphs:
            raise DataError(f"folds: {folds} given; it must be 3 (train, validation, test) to {num_graphs} (graphs)")
        if fold >= folds:
            raise DataError(f"fold: {fold} given; it must be in 0..{folds - 1} for {folds} folds")
        rows = fitted.split_rows(
            collection.graph_keys(),
            lambda: splitting.split_by_fold(splitting.make_folds(label, folds, seed), fold),
        )
        graph_split = _encode_graphs(collection, fitted, rows[0])
        self.train, self.val, self.test = make_graph_splits(graph_split, rows)
        classes = len(collection.classes)
        self.info = DatasetInfo(
            sizes=graph_sizes(graph_split) | class_sizes(classes),
            baseline=baselines.majority_class(self.train, self.test, classes),
            class_names=collection.classes,
        )

    def read_chunks(self, path: str, with_targets: bool = False) -> Iterator[Split]:
        """Read another data set in the TU format.

        Args:
            path: Directory with files as those of training; if it has several data sets, that of the same name is read.
            with_targets: Read the classes too; otherwise NAME_graph_labels.txt may be missing.
        """
        assert self.fitted is not None
        fitted = Preprocessing(self.fitted.values, self.fitted.version)
        with name_input():
            collection = tu_format.read(*self._find_collection(path), fitted, with_labels=with_targets)
            yield _encode_graphs(collection, fitted, torch.zeros(0, dtype=torch.long))

    def _find_collection(self, path: str) -> tuple[Path, str]:
        name = self.options.get("name")
        try:
            return tu_format.find_collection(path, None)
        except DataError:
            if name is None:
                raise
            return tu_format.find_collection(path, name)

    def encode_rows(self, rows: Any) -> Split:
        """Encode graphs as those of ``torch_geometric.datasets.TUDataset``.

        Args:
            rows: List of graphs with ``edge_index``, and ``x`` and ``edge_attr`` if the training graphs have labels or
                attributes: attributes first, then one-hot labels in ascending order.
        """
        graphs = [
            {
                "edge_index": torch.as_tensor(graph["edge_index"]),
                "x": self._encode_matrix(graph, "x", "node", number),
                "edge_attr": self._encode_matrix(graph, "edge_attr", "edge", number),
            }
            for number, graph in enumerate(list_graphs(rows), 1)
        ]
        return super().encode_rows(graphs)

    def _encode_matrix(self, graph: Any, name: str, kind: Literal["node", "edge"], number: int) -> Tensor:
        """Return one-hot labels, followed by standardized attributes or by the degree of nodes without either."""
        assert self.fitted is not None
        edges, scale = torch.as_tensor(graph["edge_index"]), self.fitted.values.get(f"{kind}_scale")
        num_labels = sum(map(len, self.fitted.get(f"{kind}_labels")))
        num_values = 0 if scale is None else len(scale["mean"])
        if name not in graph and not num_labels and kind == "node":
            count = int(graph["num_nodes"]) if "num_nodes" in graph else int(edges.max()) + 1
            values = edges[1].bincount(minlength=count).float()[:, None]
        elif not num_labels + num_values:
            return torch.zeros(edges.shape[1], 0)
        elif name not in graph:
            raise DataError(f"rows: graph {number}: {name} is missing")
        else:
            values = torch.as_tensor(graph[name]).float()
        if values.shape[1:] != (num_values + num_labels,):
            raise DataError(
                f"rows: graph {number}: {name} has the shape {tuple(values.shape)}; it must have {num_values}"
                f" attributes and {num_labels} labels"
            )
        values, codes = values.split([num_values, num_labels], 1)
        return codes if scale is None else torch.cat((codes, (values - scale["mean"]) / scale["std"]), 1)


def _encode_graphs(collection: tu_format.GraphCollection, fitted: Preprocessing, train: Tensor) -> GraphsSplit:
    """Encode graphs, with scales fitted on the graphs ``train`` unless they are stored."""
    has_features = collection.node_codes.values.shape[1] + collection.node_values.values.shape[1]
    values = collection.node_values if has_features else _node_degrees(collection)
    x = _node_features(fitted, "node_scale", collection.node_codes, values, train)
    edge_attr = _node_features(fitted, "edge_scale", collection.edge_codes, collection.edge_values, train)
    names = ("graph", range(1, len(x) + 1))
    return GraphsSplit({"x": x}, collection.edges, {"edge_attr": edge_attr}, collection.label, names)


class PinnedTU(TU):
    """MUTAG and PROTEINS, downloaded with pinned digests.

    ``MUTAG``: 188 molecules, mutagenic or not. ``PROTEINS``: 1113 proteins, enzymes or not.

    Args:
        name: Name of the data set.
        fold: Test fold, see ``TU``.
        folds: Number of folds.
        seed: Random seed of the folds.
        data_dir: Parent directory of ``tu_NAME/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Debnath et al. 1991, Structure-Activity Relationship of Mutagenic Aromatic and Heteroaromatic Nitro Compounds,
            J. Med. Chem. 34(2).
        Dobson and Doig 2003, Distinguishing Enzyme Structures from Non-enzymes Without Alignments, J. Mol. Biol.
            330(4).
        Borgwardt et al. 2005, Protein Function Prediction via Graph Kernels, Bioinformatics 21.
    """

    shapes = "x (N, F), edge_index (2, E), sizes (G), edge_attr (E, D) -> (G)"

    def __init__(
        self,
        name: Literal["MUTAG", "PROTEINS"],
        fold: NonNegativeInt = 0,
        folds: PositiveInt = 10,
        seed: NonNegativeInt = 0,
        data_dir: str | None = None,
        fitted: Preprocessing | None = None,
    ):
        paths = {f"{name}/raw/{name}_{part}.txt": digest for part, digest in SHA256[name].items()}
        sources = [Source(path, digest, URL + path) for path, digest in paths.items()]
        folder = fetch_files(f"tu_{name.lower()}", sources, data_dir)
        super().__init__(str(folder / name / "raw"), name, fold, folds, seed, fitted)


def _node_degrees(collection: tu_format.GraphCollection) -> Ragged:
    sizes, edges = collection.node_codes.lengths, collection.edges
    first = (sizes.cumsum(0) - sizes).repeat_interleave(edges.lengths)
    degree = (edges.values[:, 1] + first).bincount(minlength=int(sizes.sum()))
    return Ragged(degree.float()[:, None], sizes)


def _node_features(fitted: Preprocessing, name: str, codes: Ragged, values: Ragged, train: Tensor) -> Ragged:
    """Concatenate codes with values, which are standardized by the training graphs."""
    if fitted.is_stored:
        _check_width(values.values.shape[1], name, fitted)
    if not values.values.shape[1]:
        return codes

    def fit_scale() -> dict[str, Tensor]:
        mean, std = tensor_mean_and_scale(values.select_rows(train).values)
        return {"mean": mean, "std": std}

    def find_mismatch(scale: Mapping[str, Tensor]) -> str:
        columns, saved_columns = values.values.shape[1], len(scale["mean"])
        return "" if columns == saved_columns else f"{columns} columns instead of {saved_columns}"

    scale = fitted.get_or_fit(name, fit_scale, find_mismatch)
    scaled = (values.values - scale["mean"]) / scale["std"]
    return Ragged(torch.cat((codes.values, scaled), 1), codes.lengths)


def _check_width(width: int, name: str, fitted: Preprocessing) -> None:
    """Raise DataError if the graphs have other attributes than those of a saved run."""
    expected = len(fitted.values[name]["mean"]) if name in fitted.values else 0
    if width != expected:
        kind = name.partition("_")[0]
        raise DataError(f"path: {width} {kind} attributes; this run has {expected}")
