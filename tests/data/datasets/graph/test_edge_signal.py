"""Numbers on edges that decide what a node is: read by a model that reads edges, and by no other."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from trainer.data.datasets.graph.edge_signal import EdgeSignal
from trainer.utils.errors import DataError


def signal(**changed: Any) -> EdgeSignal:
    return EdgeSignal(**{"nodes": 300, "degree": 6, "noise": 0.0, "seed": 0, **changed})


def test_a_target_is_the_mean_over_its_edges() -> None:
    batch = signal(nodes=20, degree=3).test.full_batch
    (x, edge_index, attr), target = batch.inputs.values(), batch.target
    assert target is not None
    for node in range(20):
        arriving = (edge_index[1] == node).nonzero().flatten().tolist()
        told = [float(attr[k] * x[edge_index[0, k]]) for k in arriving]
        assert float(target[node]) == pytest.approx(sum(told) / max(1, len(told)), abs=1e-6)


def test_edges_are_different_and_no_loops() -> None:
    source, target = edge_index = signal(nodes=30, degree=20).train.full_batch.inputs["edge_index"]
    assert edge_index.shape == edge_index.unique(dim=1).shape == (2, 600)
    assert not (source == target).any()
    with pytest.raises(DataError, match="6 neighbors for each of 6 nodes; there are only 5 others"):
        signal(nodes=6)


def test_splits_are_graphs_of_their_own() -> None:
    data = signal()
    one, two, three = (part.full_batch.inputs["x"] for part in (data.train, data.val, data.test))
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)
    assert data.info.best_possible["mse"] == 0.0
    assert signal(noise=0.1, nodes=800).info.best_possible["mse"] == pytest.approx(0.01, rel=0.15)


@pytest.mark.slow
def test_a_model_that_reads_edges_finds_it_and_one_that_does_not_never_will() -> None:
    small = ("data=edge_signal", "epochs=150")
    assert lab("model=edge_gnn", *small).test()["r2"] >= 0.8
    assert lab("model=sage", *small, "model.dropout=0").test()["r2"] < 0.1
    blind = lab("model=edge_gnn", *small)
    for part in (blind.data.train, blind.data.val, blind.data.test):
        part.full_batch.inputs["edge_attr"].zero_()  # type: ignore[attr-defined]
    assert blind.test()["r2"] < 0.1
