"""Graph data: what is read, what is refused, and that the links matter."""

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


def sbm(**changed: Any) -> StochasticBlockModel:
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
    return StochasticBlockModel(**{**options, **changed})


class TestBlocks:
    def test_links_follow_the_chances(self) -> None:
        data = sbm(nodes=2000)
        source, target = data.train.full_batch.inputs["edge_index"]
        same = source % 4 == target % 4
        assert float(same.sum()) / (2000 * 499) == pytest.approx(0.05, rel=0.03)
        assert float((~same).sum()) / (2000 * 1500) == pytest.approx(0.005, rel=0.03)
        there, back = (set(zip(a.tolist(), b.tolist(), strict=True)) for a, b in ((source, target), (target, source)))
        assert there == back
        assert not (source == target).any()

    def test_splits_share_no_node(self) -> None:
        data = sbm()
        asked = [part.full_batch.output_index for part in (data.train, data.val, data.test)]
        assert [len(rows) for rows in asked] == [40, 100, 260]
        assert torch.cat(asked).sort().values.tolist() == list(range(400))
        assert data.train.full_batch.target.bincount().tolist() == [10] * 4

    def test_the_oracle_lies_where_it_was_found_before(self) -> None:
        assert np.mean([sbm(seed=seed).info.best_possible["accuracy"] for seed in range(5)]) == pytest.approx(
            0.967, abs=0.015
        )

    def test_the_seed_determines_the_graph(self) -> None:
        one, again, other = (sbm(seed=seed).train.full_batch.inputs["edge_index"] for seed in (1, 1, 2))
        assert torch.equal(one, again)
        assert one.shape != other.shape or not torch.equal(one, other)

    def test_a_test_without_nodes_is_refused(self) -> None:
        with pytest.raises(DataError, match="140 nodes leave none for test after 40 for training and 100"):
            sbm(nodes=140)


@pytest.mark.parametrize("model", ["gcn", "gat"])
@pytest.mark.slow
def test_links_carry_the_class(model: str) -> None:
    assert lab(f"model={model}", "data=sbm", "epochs=80").test()["accuracy"] >= 0.75


@pytest.mark.slow
def test_features_alone_do_not() -> None:
    """The same nodes without their links, and with links that have been dealt out anew."""
    assert lab("model=mlp", "data=sbm", "epochs=80").test()["accuracy"] < 0.6
    run = lab("model=gcn", "data=sbm", "epochs=80")
    edges = run.data.train.full_batch.inputs["edge_index"]
    edges[1] = edges[1, torch.randperm(edges.shape[1])]
    assert run.test()["accuracy"] < 0.6


class Indiscriminate(GATConv):
    """A softmax over all nodes, in which every node that is no neighbour has a score of 0."""

    def forward(self, x: Tensor, graph: Graph) -> Tensor:
        h = self.project_heads(x, self.weight)
        pattern = graph.get_neighbors(self.heads).pattern
        at = pattern.rows % self.heads, pattern.rows // self.heads, pattern.cols // self.heads
        scores = h.new_zeros(self.heads, len(h), len(h)).index_put(at, self.score_edges(x, h, pattern))
        out = torch.einsum("hij,jhc->ihc", F.dropout(scores.softmax(2), self.dropout, self.training), h)
        return (out.flatten(1) if self.concat else out.mean(1)) + self.bias


@pytest.mark.slow
def test_a_softmax_that_knows_no_neighbors_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(ATTENTION_CONVS, "v1", Indiscriminate)
    assert lab("model=gat", "data=sbm", "epochs=80").test()["accuracy"] < 0.7


def write(folder: Path, monkeypatch: pytest.MonkeyPatch, swap: dict[str, bytes] | None = None) -> Path:
    """A citation network of 8 nodes in Planetoid's files: 2 labelled, 3 to validate, node 6 without a paper."""
    x = np.eye(5, 4, dtype=np.float32) + np.eye(5, 4, k=-1, dtype=np.float32)
    label = np.eye(2, dtype=np.int32)[[0, 1, 0, 1, 0]]
    graph = defaultdict(list, {0: [1, 1, 0], 1: [2], 2: [1, 7], 7: [2], 6: []})
    tested = np.eye(2, dtype=np.int32)[[0, 1]]
    csr = scipy.sparse.csr_matrix
    held = {
        "x": csr(x[:2]),
        "y": label[:2],
        "allx": csr(x),
        "ally": label,
        "tx": csr(np.float32([[0, 0, 0, 7], [5, 0, 0, 0]])),
        "ty": tested,
        "graph": graph,
    }
    files = {name: pickle.dumps(value, protocol=3) for name, value in held.items()}
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
    for name, value in (files | (swap or {})).items():
        (raw / f"ind.cora.{name}").write_bytes(value)
    monkeypatch.setattr(planetoid, "fetch_files", lambda name, _, data_dir: Path(data_dir) / name)
    monkeypatch.setattr(planetoid, "NUM_VAL_NODES", 3)
    return folder


def papers(folder: Path, name: Literal["cora", "citeseer"] = "cora", **changed: Any) -> Planetoid:
    return Planetoid(
        name, **{"row_normalize": True, "num_neighbors": None, "seed": 0, "data_dir": str(folder), **changed}
    )


def test_planetoid_files_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = papers(write(tmp_path, monkeypatch))
    x, edges = data.train.full_batch.inputs["x"], data.train.full_batch.inputs["edge_index"]
    assert x[1].tolist() == [0.5, 0.5, 0, 0]
    assert x[5:].tolist() == [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]]
    assert edges.t().tolist() == [[0, 1], [1, 0], [1, 2], [2, 1], [2, 7], [7, 2]]
    wholes = [part.full_batch for part in (data.train, data.val, data.test)]
    asked = [dict(zip(whole.output_index.tolist(), whole.target.tolist(), strict=True)) for whole in wholes]
    assert asked == [{0: 0, 1: 1}, {2: 0, 3: 1, 4: 0}, {5: 1, 7: 0}]


def test_papers_can_be_read_with_a_few_neighbors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = papers(write(tmp_path, monkeypatch), num_neighbors=[1, 1])
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
def test_code_in_a_file_does_not_run(part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    marker = tmp_path / "ran"
    nested = {"allx": np.array([Payload(marker)], dtype=object), "graph": defaultdict(list, {0: [Payload(marker)]})}
    evil = pickle.dumps(nested.get(part, Payload(marker)), protocol=3)
    evil = evil.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    folder = write(tmp_path, monkeypatch, {part: evil})
    if part == "x":  # not used, so not even opened
        papers(folder)
    else:
        with pytest.raises(DataError, match=rf"ind\.cora\.{part} rejected: class \w+\.mkdir is not allowed"):
            papers(folder)
    assert not marker.exists()
    module = np.empty(0).__reduce__()[0].__module__  # its name depends on the version of NumPy
    pickle.loads(evil.replace(b"numpy.core.multiarray", module.encode()))
    assert marker.exists()  # it would have


def test_a_broken_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path, monkeypatch, {"tx": b"\x80\x02not a pickle"})
    with pytest.raises(DataError, match=r"ind\.cora\.tx rejected"):
        papers(folder)


def test_every_file_is_verified_before_it_is_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Source] = []

    def fetch(_: str, sources: list[Source], __: str | None) -> Path:
        asked.extend(sources)
        raise DataError("no")

    monkeypatch.setattr(planetoid, "fetch_files", fetch)
    with pytest.raises(DataError, match="no"):
        papers(tmp_path, "citeseer")
    assert len(asked) == 8
    assert all(len(source.sha256) == 64 and source.path.startswith("Citeseer/raw/ind.citeseer.") for source in asked)


@pytest.mark.parametrize(
    ("name", "nodes", "features", "edges", "classes", "labelled", "missing"),
    [("cora", 2708, 1433, 10556, 7, 140, 0), ("citeseer", 3327, 3703, 9104, 6, 120, 15)],
)
def test_citation_networks(
    name: str, nodes: int, features: int, edges: int, classes: int, labelled: int, missing: int
) -> None:
    if reason := missing_reason(name):
        pytest.skip(reason)
    data = papers(FOLDER, name)  # type: ignore[arg-type]
    x, edge_index = data.train.full_batch.inputs["x"], data.train.full_batch.inputs["edge_index"]
    assert x.shape == (nodes, features)
    assert x.isfinite().all()
    assert int((x.sum(1) == 0).sum()) >= missing
    assert edge_index.shape == (2, edges)
    assert data.info.sizes["num_classes"] == classes
    asked = [part.full_batch.output_index for part in (data.train, data.val, data.test)]
    assert [len(rows) for rows in asked] == [labelled, 500, 1000]
    assert int(torch.cat(asked).bincount().max()) == 1
    assert data.train.full_batch.target.bincount().tolist() == [20] * classes


@needs("cora")
def test_cora_has_its_known_degrees() -> None:
    edge_index = papers(FOLDER, row_normalize=False).train.full_batch.inputs["edge_index"]
    degree = edge_index[1].bincount(minlength=2708)
    assert int(degree.max()) == 168
    assert int(degree.min()) == 1
