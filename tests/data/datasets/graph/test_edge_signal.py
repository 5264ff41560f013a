"""Node targets that depend on edge features: only models that read edge features learn them."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tests.helpers.lab import lab
from trainer.data.datasets.graph.edge_signal import EdgeSignal
from trainer.utils.errors import DataError


def make_dataset(**changes: Any) -> EdgeSignal:
    return EdgeSignal(**{"nodes": 300, "degree": 6, "noise": 0.0, "seed": 0, **changes})


def test_target_is_weighted_mean_over_incoming_edges() -> None:
    batch = make_dataset(nodes=20, degree=3).test.full_batch
    (x, edge_index, attr), target = batch.inputs.values(), batch.target
    assert target is not None
    for node in range(20):
        incoming = (edge_index[1] == node).nonzero().flatten().tolist()
        messages = [float(attr[k] * x[edge_index[0, k]]) for k in incoming]
        assert float(target[node]) == pytest.approx(sum(messages) / max(1, len(messages)), abs=1e-6)


def test_edges_are_unique_without_self_loops() -> None:
    source, target = edge_index = make_dataset(nodes=30, degree=20).train.full_batch.inputs["edge_index"]
    assert edge_index.shape == edge_index.unique(dim=1).shape == (2, 600)
    assert not (source == target).any()
    with pytest.raises(DataError, match="6 neighbors for each of 6 nodes; there are only 5 others"):
        make_dataset(nodes=6)


def test_splits_are_different_graphs() -> None:
    data = make_dataset()
    one, two, three = (part.full_batch.inputs["x"] for part in (data.train, data.val, data.test))
    assert not torch.equal(one, two)
    assert not torch.equal(two, three)
    assert data.info.best_possible["mse"] == 0.0
    assert make_dataset(noise=0.1, nodes=800).info.best_possible["mse"] == pytest.approx(0.01, rel=0.15)


@pytest.mark.slow
def test_edge_gnn_learns_edge_signal_and_blind_models_do_not() -> None:
    overrides = ("data=edge_signal", "epochs=150")
    assert lab("model=edge_gnn", *overrides).test()["r2"] >= 0.8
    assert lab("model=sage", *overrides, "model.dropout=0").test()["r2"] < 0.1
    run_without_edges = lab("model=edge_gnn", *overrides)
    for part in (run_without_edges.data.train, run_without_edges.data.val, run_without_edges.data.test):
        part.full_batch.inputs["edge_attr"].zero_()  # type: ignore[attr-defined]
    assert run_without_edges.test()["r2"] < 0.1
