"""Stochastic block models and Planetoid files: contents, safe reading, and learning from edges."""

from __future__ import annotations

import os
import pickle
from collections import defaultdict
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import scipy.sparse
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.real_data import FOLDER, missing_reason, needs
from trainer.data.datasets.graph import planetoid
from trainer.data.datasets.graph.planetoid import Planetoid
from trainer.data.datasets.graph.sbm import StochasticBlockModel
from trainer.data.readers.download import Source
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_attention import ATTENTION_CONVS, GATConv
from trainer.utils.errors import DataError


def make_sbm(**changes: Any) -> StochasticBlockModel:
    options: dict[str, Any] = {
        "nodes": 400,
        "blocks": 4,
        "p_within": 0.05,
        "p_across": 0.005,
        "mu": 1.0,
        "labeled_nodes": 40,
        "val_nodes": 100,
        "seed": 0,
    }
    return StochasticBlockModel(**{**options, **changes})


class TestBlocks:
    def test_edge_density_matches_probabilities(self) -> None:
        data = make_sbm(nodes=2000)
        source, target = data.train.full_batch.inputs["edge_index"]
        same = source % 4 == target % 4
        assert float(same.sum()) / (2000 * 499) == pytest.approx(0.05, rel=0.03)
        assert float((~same).sum()) / (2000 * 1500) == pytest.approx(0.005, rel=0.03)
        there, back = (set(zip(a.tolist(), b.tolist(), strict=True)) for a, b in ((source, target), (target, source)))
        assert there == back
        assert not (source == target).any()

    def test_splits_share_no_node(self) -> None:
        data = make_sbm()
        output_indices = [part.full_batch.output_index for part in (data.train, data.val, data.test)]
        assert [len(rows) for rows in output_indices] == [40, 100, 260]
        assert torch.cat(output_indices).sort().values.tolist() == list(range(400))
        assert data.train.full_batch.target.bincount().tolist() == [10] * 4

    def test_best_possible_accuracy_matches_reference(self) -> None:
        assert np.mean([make_sbm(seed=seed).info.best_possible["accuracy"] for seed in range(5)]) == pytest.approx(
            0.967, abs=0.015
        )

    def test_the_seed_determines_the_graph(self) -> None:
        one, again, other = (make_sbm(seed=seed).train.full_batch.inputs["edge_index"] for seed in (1, 1, 2))
        assert torch.equal(one, again)
        assert one.shape != other.shape or not torch.equal(one, other)

    def test_empty_test_split_raises(self) -> None:
        with pytest.raises(DataError, match="140 nodes leave none for test after 40 for training and 100"):
            make_sbm(nodes=140)


@pytest.mark.parametrize("model", ["gcn", "gat"])
@pytest.mark.slow
def test_gnn_learns_classes_from_edges(model: str) -> None:
    assert lab(f"model={model}", "data=sbm", "epochs=80").test()["accuracy"] >= 0.75


@pytest.mark.slow
def test_mlp_and_gcn_with_permuted_edges_do_not_learn() -> None:
    """Train without edges, and with randomly permuted edges."""
    assert lab("model=mlp", "data=sbm", "epochs=80").test()["accuracy"] < 0.6
    run = lab("model=gcn", "data=sbm", "epochs=80")
    edges = run.data.train.full_batch.inputs["edge_index"]
    edges[1] = edges[1, torch.randperm(edges.shape[1])]
    assert run.test()["accuracy"] < 0.6


class GlobalSoftmaxConv(GATConv):
    """Graph attention with a softmax over all nodes, where non-neighbors have the score 0."""

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        h = self.project_heads(x, self.weight)
        pattern = graph.get_neighbors(self.heads).pattern
        index = pattern.rows % self.heads, pattern.rows // self.heads, pattern.cols // self.heads
        scores = h.new_zeros(self.heads, len(h), len(h)).index_put(index, self.score_edges(x, h, pattern))
        out = torch.einsum("hij,jhc->ihc", F.dropout(scores.softmax(2), self.dropout, self.training), h)
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias


@pytest.mark.slow
def test_gat_with_softmax_over_all_nodes_does_not_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTENTION_CONVS, "v1", GlobalSoftmaxConv)
    assert lab("model=gat", "data=sbm", "epochs=80").test()["accuracy"] < 0.7


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, bytes] | None = None) -> Path:
    """Write a citation network of 8 nodes in Planetoid's files: 2 labeled, 3 for validation, node 6 without a paper."""
    x = np.eye(5, 4, dtype=np.float32) + np.eye(5, 4, k=-1, dtype=np.float32)
    label = np.eye(2, dtype=np.int32)[[0, 1, 0, 1, 0]]
    graph = defaultdict(list, {0: [1, 1, 0], 1: [2], 2: [1, 7], 7: [2], 6: []})
    test_label = np.eye(2, dtype=np.int32)[[0, 1]]
    csr = scipy.sparse.csr_matrix
    arrays = {
        "x": csr(x[:2]),
        "y": label[:2],
        "allx": csr(x),
        "ally": label,
        "tx": csr(np.float32([[0, 0, 0, 7], [5, 0, 0, 0]])),
        "ty": test_label,
        "graph": graph,
    }
    files = {name: pickle.dumps(value, protocol=3) for name, value in arrays.items()}
    # As Python 2 and an old scipy and numpy named them.
    renamed = (
        (b"cscipy.sparse._csr\n", b"cscipy.sparse.csr\n"),
        (b"cnumpy._core.multiarray", b"cnumpy.core.multiarray"),
    )
    for old, new in renamed:
        files = {name: value.replace(old, new) for name, value in files.items()}
    files["test.index"] = b"7\n5\n"
    raw = folder / "cora/Cora/raw"
    raw.mkdir(parents=True)
    for name, value in (files | (changes or {})).items():
        (raw / f"ind.cora.{name}").write_bytes(value)
    monkeypatch.setattr(planetoid, "fetch_files", lambda name, _, data_dir: Path(data_dir) / name)
    monkeypatch.setattr(planetoid, "NUM_VAL_NODES", 3)
    return folder


def load_planetoid(folder: Path, name: Literal["cora", "citeseer"] = "cora", **changes: Any) -> Planetoid:
    return Planetoid(
        name, **{"row_normalize": True, "num_neighbors": None, "seed": 0, "data_dir": str(folder), **changes}
    )


def test_planetoid_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_planetoid(write(tmp_path, monkeypatch))
    x, edges = data.train.full_batch.inputs["x"], data.train.full_batch.inputs["edge_index"]
    assert x[1].tolist() == [0.5, 0.5, 0, 0]
    assert x[5:].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert edges.t().tolist() == [[0, 1], [1, 0], [1, 2], [2, 1], [2, 7], [7, 2]]
    full_batches = [part.full_batch for part in (data.train, data.val, data.test)]
    targets = [
        dict(zip(full_batch.output_index.tolist(), full_batch.target.tolist(), strict=True))
        for full_batch in full_batches
    ]
    assert targets == [{0: 0, 1: 1}, {2: 0, 3: 1, 4: 0}, {5: 1, 7: 0}]


def test_planetoid_with_neighbor_sampling(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = load_planetoid(write(tmp_path, monkeypatch), num_neighbors=[1, 1])
    batch = data.train.batch(torch.tensor([1]), 0)
    assert batch.target is not None
    assert batch.target.tolist() == [1]
    assert batch.inputs["x"][0].tolist() == [0.5, 0.5, 0, 0]
    assert batch.inputs["edge_index"].shape == (2, 2)
    assert len(data.val.batch(torch.tensor([0]), 0).inputs["x"]) == 8


class Payload:
    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("part", ["x", "y", "allx", "ally", "tx", "ty", "graph"])
def test_pickled_code_is_not_executed(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "ran"
    nested = {"allx": np.array([Payload(marker)], dtype=object), "graph": defaultdict(list, {0: [Payload(marker)]})}
    payload = pickle.dumps(nested.get(part, Payload(marker)), protocol=3)
    payload = payload.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    folder = write(tmp_path, monkeypatch, {part: payload})
    if part == "x":  # not used and not opened
        load_planetoid(folder)
    else:
        with pytest.raises(DataError, match=rf"ind\.cora\.{part} rejected: class \w+\.mkdir is not allowed"):
            load_planetoid(folder)
    assert not marker.exists()
    module = np.empty(0).__reduce__()[0].__module__  # its name depends on the version of NumPy
    pickle.loads(payload.replace(b"numpy.core.multiarray", module.encode()))
    assert marker.exists()  # control: pickle executes it


def test_a_broken_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, monkeypatch, {"tx": b"\x80\x02not a pickle"})
    with pytest.raises(DataError, match=r"ind\.cora\.tx rejected"):
        load_planetoid(folder)


def test_every_file_is_verified_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    requested_sources: list[Source] = []

    def fetch(_: str, sources: list[Source], __: str | None) -> Path:
        requested_sources.extend(sources)
        raise DataError("no")

    monkeypatch.setattr(planetoid, "fetch_files", fetch)
    with pytest.raises(DataError, match="no"):
        load_planetoid(tmp_path, "citeseer")
    assert len(requested_sources) == 8
    assert all(
        len(source.sha256) == 64 and source.path.startswith("Citeseer/raw/ind.citeseer.")
        for source in requested_sources
    )


@pytest.mark.parametrize(
    ("name", "nodes", "features", "edges", "classes", "labeled", "missing"),
    [("cora", 2708, 1433, 10556, 7, 140, 0), ("citeseer", 3327, 3703, 9104, 6, 120, 15)],
)
def test_citation_network_sizes_match_publication(
    name: str, nodes: int, features: int, edges: int, classes: int, labeled: int, missing: int
) -> None:
    if reason := missing_reason(name):
        pytest.skip(reason)
    data = load_planetoid(FOLDER, name)  # type: ignore[arg-type]
    x, edge_index = data.train.full_batch.inputs["x"], data.train.full_batch.inputs["edge_index"]
    assert x.shape == (nodes, features)
    assert x.isfinite().all()
    assert int((x.sum(1) == 0).sum()) >= missing
    assert edge_index.shape == (2, edges)
    assert data.info.sizes["num_classes"] == classes
    output_indices = [part.full_batch.output_index for part in (data.train, data.val, data.test)]
    assert [len(rows) for rows in output_indices] == [labeled, 500, 1000]
    assert int(torch.cat(output_indices).bincount().max()) == 1
    assert data.train.full_batch.target.bincount().tolist() == [20] * classes


@needs("cora")
def test_cora_has_its_known_degrees() -> None:
    edge_index = load_planetoid(FOLDER, row_normalize=False).train.full_batch.inputs["edge_index"]
    degree = edge_index[1].bincount(minlength=2708)
    assert int(degree.max()) == 168
    assert int(degree.min()) == 1
