"""Paths that graph layers take in exported programs, run here without tracing, against their usual paths."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from trainer.models.graph.gnn import GAT, GNN, EdgeGNN
from trainer.models.graph.graph_net import GraphNet
from trainer.models.graph.recommendation import BipartiteGNN
from trainer.models.graph.rgcn import RGCN
from trainer.models.graph.spatiotemporal import SpatiotemporalGNN
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_readout import GraphPool

NODES = 6
EDGES = torch.tensor([[0, 1, 2, 2, 3, 3, 0, 4], [1, 0, 2, 0, 2, 3, 1, 1]])
"""With self-loops at 2 and 3, an edge that occurs twice, and a node without edges."""
WEIGHTS = torch.tensor([0.5, 1.0, 2.0, 0.0, 1.5, 0.25, 3.0, 0.1])
TYPES = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
X = torch.randn(NODES, 3, generator=torch.Generator().manual_seed(0))
MODELS: dict[str, tuple[Callable[[], nn.Module], dict[str, Tensor]]] = {
    **{
        conv: (lambda conv=conv: GNN(3, 2, conv, [4]), {"edge_weight": WEIGHTS})
        for conv in ("sum", "mean", "gcn", "sage", "gin")
    },  # type: ignore[misc]
    "gcn, unweighted": (lambda: GNN(3, 2, "gcn", [4]), {}),
    **{
        f"gat {version}": (lambda version=version: GAT(3, 2, version, [4], 2), {"edge_weight": WEIGHTS})
        for version in ("v1", "v2")
    },  # type: ignore[misc]
    "gat, unweighted": (lambda: GAT(3, 2), {}),
    "edge_gnn": (lambda: EdgeGNN(3, 2, 1, [4]), {"edge_attr": WEIGHTS[:, None]}),
    "rgcn": (lambda: RGCN(3, 2, 4, [4], 2), {"edge_type": TYPES, "edge_weight": WEIGHTS}),
    "rgcn, unweighted": (lambda: RGCN(3, 2, 3, [4]), {"edge_type": TYPES}),
    **{
        f"graph_net {pool}": (
            lambda pool=pool: GraphNet(3, None, 0, 2, "gin", [4], pool=pool),
            {"sizes": torch.tensor([2, 3, 1])},
        )  # type: ignore[misc]
        for pool in ("mean", "sum", "max", "attention")
    },
}


@pytest.mark.parametrize("name", MODELS)
def test_exported_path_equals_the_usual_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    make_model, inputs = MODELS[name]
    model = make_model().eval()
    with torch.no_grad():
        expected = model(x=X, edge_index=EDGES, **inputs)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        output = model(x=X, edge_index=EDGES, **inputs)
    assert output.shape == expected.shape
    torch.testing.assert_close(output, expected)


def test_graph_without_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model, empty = GAT(3, 2).eval(), EDGES[:, :0]
    with torch.no_grad():
        expected = model(X, empty)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(model(X, empty), expected)


def test_bipartite_graph_and_categories(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    links = BipartiteGNN(NODES, 4).eval()
    atoms = GraphNet(2, [3, 2], 0, 2, "none", [4]).eval()
    codes, sizes = torch.tensor([[0, 1], [2, 0], [1, 1]]), torch.tensor([1, 2])
    with torch.no_grad():
        expected = links(EDGES.t(), EDGES), atoms(codes, EDGES[:, :2], sizes)
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(links(EDGES.t(), EDGES), expected[0])
        torch.testing.assert_close(atoms(codes, EDGES[:, :2], sizes), expected[1])


def test_pool_of_graphs_without_nodes_is_a_sum_of_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, sizes = GraphPool("sum", 3), torch.tensor([0, 4, 0, 2])
    expected = pool(X, sizes)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    torch.testing.assert_close(pool(X, sizes), expected)


@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_spatial_encoding_of_steps(pool: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    model = SpatiotemporalGNN(3, 2, pool=pool).eval()  # type: ignore[arg-type]
    steps = torch.randn(4, NODES, 3)
    with torch.no_grad():
        expected = model.encode_steps(steps, Graph(NODES, EDGES, WEIGHTS))
        monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
        torch.testing.assert_close(model.encode_steps(steps, Graph(NODES, EDGES, WEIGHTS)), expected)
