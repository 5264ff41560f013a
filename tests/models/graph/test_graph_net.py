"""Graph-level networks: batching, invariance, edge use, parameter counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from trainer.models.graph.graph_net import GraphNet

CONVS = ("none", "sum", "mean", "gcn", "sage", "gin", "gat", "edge")
POOLS = ("mean", "sum", "max", "attention")
SIZES = [4, 1, 3]
EDGES = [[(0, 1), (1, 0), (1, 2), (2, 1), (3, 3)], [], [(0, 2), (2, 1)]]
every = [(conv, "mean") for conv in CONVS] + [("gin", pool) for pool in POOLS[1:]]
combined = pytest.mark.parametrize(("conv", "pool"), every)


def make_net(conv: str = "gin", pool: str = "mean", **overrides: Any) -> GraphNet:
    options: dict[str, Any] = {
        "in_features": 5,
        "cardinalities": None,
        "edge_features": 2,
        "out_features": 3,
        "hidden": [8, 8],
        "heads": 2,
        "head": [],
        "dropout": 0.5,
    }
    return GraphNet(conv=conv, pool=pool, **{**options, **overrides}).eval()  # type: ignore[arg-type]


def make_graphs() -> list[dict[str, Tensor]]:
    """Return a graph with a self-loop, a graph of one node and a graph with directed edges."""
    return [
        {
            "x": torch.randn(size, 5),
            "edge_index": torch.tensor(edges, dtype=torch.long).view(-1, 2).t(),
            "sizes": torch.tensor([size]),
            "edge_attr": torch.randn(len(edges), 2),
        }
        for size, edges in zip(SIZES, EDGES, strict=True)
    ]


def concatenate_graphs(parts: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    joined = {name: torch.cat([part[name] for part in parts]) for name in ("x", "sizes", "edge_attr")}
    first = joined["sizes"].cumsum(0) - joined["sizes"]
    shifted = [part["edge_index"] + start for part, start in zip(parts, first, strict=True)]
    return joined | {"edge_index": torch.cat(shifted, 1)}


@combined
def test_batched_graphs_match_single_graphs(conv: str, pool: str) -> None:
    model, parts = make_net(conv, pool), make_graphs()
    separate = torch.cat([model(**part) for part in parts])
    assert separate.isfinite().all()
    torch.testing.assert_close(model(**concatenate_graphs(parts)), separate, atol=1e-6, rtol=1e-5)
    assert not torch.allclose(separate[0], separate[1])


@combined
def test_output_is_invariant_to_node_and_edge_order(conv: str, pool: str) -> None:
    model, (graph, *_) = make_net(conv, pool), make_graphs()
    order, shuffled = torch.tensor([2, 0, 3, 1]), torch.tensor([4, 2, 0, 1, 3])
    permuted = {
        "x": graph["x"][order],
        "edge_index": order.argsort()[graph["edge_index"]][:, shuffled],
        "sizes": graph["sizes"],
        "edge_attr": graph["edge_attr"][shuffled],
    }
    torch.testing.assert_close(model(**permuted), model(**graph), atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("conv", CONVS)
def test_edges_change_output_of_every_conv_but_none(conv: str) -> None:
    model, (graph, *_) = make_net(conv), make_graphs()
    cut = graph | {"edge_index": graph["edge_index"][:, :2], "edge_attr": graph["edge_attr"][:2]}
    assert torch.allclose(model(**graph), model(**cut)) == (conv == "none")
    other = graph | {"edge_attr": graph["edge_attr"] + 1}
    assert torch.allclose(model(**graph), model(**other)) == (conv != "edge")


def test_edge_conv_without_edge_features_is_finite() -> None:
    (graph, *_) = make_graphs()
    del graph["edge_attr"]
    assert make_net("edge", edge_features=0)(**graph).isfinite().all()


def test_parameter_counts_match_the_paper() -> None:
    def count(conv: str, pool: str = "mean", **overrides: Any) -> int:
        options = {"in_features": 9, "out_features": 1, "hidden": [64, 64]} | overrides
        return sum(p.numel() for p in make_net(conv, pool, **options).parameters())

    assert count("gcn") == 4865  # (9 + 1) 64 + (64 + 1) 64 + (64 + 1)
    assert count("none") == 4865
    assert count("gcn", "attention") == 4865 + 64
    assert count("gcn", head=[32]) == 4865 - 65 + 65 * 32 + 33
    assert count("gcn", cardinalities=[3] * 9) == 4865 + 27 * 64 - 9 * 64 + 64 * 64


def test_integer_features_are_embedded_or_used_as_numbers() -> None:
    (graph, *_) = make_graphs()
    codes = graph | {"x": torch.randint(3, (4, 5))}
    assert make_net(cardinalities=[3] * 5)(**codes).isfinite().all()
    torch.testing.assert_close(make_net()(**codes).shape, torch.Size([1, 3]))
    with pytest.raises(ValueError, match=r"codes of column 2 are 0\.\.1"):
        make_net(cardinalities=[3, 3, 2, 3, 3])(**(codes | {"x": torch.full((4, 5), 2)}))


def test_invalid_options_raise() -> None:
    with pytest.raises(ValueError, match=r"heads: 3 heads do not divide a layer 8 wide"):
        make_net("gat", heads=3)
    with pytest.raises(ValueError, match=r"hidden: a graph network needs at least one layer"):
        make_net(hidden=[])


@pytest.mark.slow
def test_bond_structure_is_learned_only_with_convolution() -> None:
    data = ("data=esol_like", "data.rows=500", "data.bonds=0.8", "data.noise=0")
    overrides = ("model=graph_net", *data, "model.hidden=[32,32]", "epochs=30", "optimizer.lr=1e-2", "ema=0.9")
    with_conv, without_conv = (lab(*overrides, f"model.conv={conv}").test()["rmse"] for conv in ("gin", "none"))
    assert with_conv < 0.4 < 0.8 < without_conv
