"""Layers along edges against loops in numpy, against PyG with the same weights, and what is told about them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.graphs import random_graph
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_attention import ATTENTION_CONVS, GATConv, GATv2Conv
from trainer.models.layers.graph.graph_conv import EdgeMessageConv, GCNConv, GINConv, SAGEConv

CHAIN = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])
Array = np.ndarray[Any, Any]
pyg = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch says so as PyG is imported


def seeded(layer: nn.Module) -> nn.Module:
    for value in layer.parameters():
        nn.init.normal_(value)
    return layer.double()


def attention(version: str, concat: bool = True) -> nn.Module:
    return ATTENTION_CONVS[version](5, 4, heads=3, concat=concat, dropout=0.0, negative_slope=0.2)  # type: ignore[index]


def numbers(layer: nn.Module) -> dict[str, Array]:
    return {name.replace(".", "_"): value.detach().numpy() for name, value in layer.named_parameters()}


def adjacency(edge_index: Tensor, weight: Tensor, nodes: int, loops: bool) -> Array:
    found = np.zeros((nodes, nodes))
    for source, target, value in zip(*edge_index.tolist(), weight.tolist(), strict=True):
        found[target, source] = value
    if loops:
        for node in range(nodes):
            found[node, node] = found[node, node] or 1.0
    return found


def convolved(x: Array, near: Array, p: dict[str, Array], norm: str) -> Array:
    degree = near.sum(1)
    out = np.zeros((len(x), p["weight"].shape[1]))
    for i, j in np.argwhere(near):
        scale = {"sum": 1.0, "mean": degree[i], "symmetric": math.sqrt(degree[i] * degree[j])}[norm]
        out[i] += near[i, j] / scale * (x[j] @ p["weight"])
    return out + p["bias"]


def sage(x: Array, near: Array, p: dict[str, Array]) -> Array:
    means = [row @ x / row.sum() if row.any() else np.zeros(x.shape[1]) for row in near]
    return x @ p["weight"] + np.array(means) @ p["neighbor_weight"] + p["bias"]


def gin(x: Array, near: Array, p: dict[str, Array]) -> Array:
    h = ((1 + p["eps"]) * x + near @ x) @ p["weight"] + p["bias"]
    h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) * p["norm_weight"] + p["norm_bias"]
    return np.maximum(h, 0) @ p["out_weight"].T + p["out_bias"]


def attended(x: Array, near: Array, p: dict[str, Array], version: str, concat: bool) -> Array:
    h = (x @ p["weight"]).reshape(len(x), 3, 4)
    t = (x @ p.get("target_weight", p["weight"])).reshape(len(x), 3, 4)
    leaky = {True: 1.0, False: 0.2}
    out = np.zeros_like(h)
    for i, head in np.ndindex(len(x), 3):
        share = np.zeros(len(x))
        for j in np.flatnonzero(near[i]):
            if version == "v1":
                score = p["att_dst"][head] @ h[i, head] + p["att_src"][head] @ h[j, head]
                score *= leaky[bool(score > 0)]
            else:
                score = sum(p["att"][head] * [u * leaky[bool(u > 0)] for u in t[i, head] + h[j, head]])
            share[j] = near[i, j] * math.exp(score)
        out[i, head] = share / share.sum() @ h[:, head]
    return (out.reshape(len(x), -1) if concat else out.mean(1)) + p["bias"]


FORMULAS: dict[str, tuple[Callable[[], nn.Module], bool, Callable[..., Array]]] = {
    **{
        norm: (partial(GCNConv, 5, 3, norm), True, partial(convolved, norm=norm))  # type: ignore[arg-type]
        for norm in ("sum", "mean", "symmetric")
    },
    "sage": (partial(SAGEConv, 5, 3), False, sage),
    "gin": (partial(GINConv, 5, 3), False, gin),
    **{
        f"{version} {concat}": (
            partial(attention, version, concat),
            True,
            partial(attended, version=version, concat=concat),
        )
        for version in ATTENTION_CONVS
        for concat in (True, False)
    },
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", FORMULAS)
def test_a_layer_matches_its_formula(name: str, weighted: bool) -> None:
    make, loops, formula = FORMULAS[name]
    x, edge_index, weight = random_graph()
    layer, given = seeded(make()), weight.double() if weighted else None
    out = layer(x.double(), Graph(len(x), edge_index, given, dtype=torch.double))
    near = adjacency(edge_index, weight.double() if weighted else torch.ones(len(weight)), len(x), loops)
    np.testing.assert_allclose(out.detach(), formula(x.double().numpy(), near, numbers(layer)), atol=1e-9)


@pytest.mark.parametrize("width", [5, 3])
def test_edge_messages_match_their_formula(width: int) -> None:
    x, edge_index, _ = random_graph()
    attr = torch.randn(edge_index.shape[1], 2).double()
    layer = seeded(EdgeMessageConv(5, width, 2))
    p, h = numbers(layer), x.double().numpy()
    expected = h @ p["weight"] if "weight" in p else h.copy()
    for i in range(len(x)):
        arriving = [k for k, target in enumerate(edge_index[1].tolist()) if target == i]
        told = [np.concatenate((h[i], h[edge_index[0, k]], attr[k].numpy())) for k in arriving]
        if told:
            expected[i] += np.mean([np.maximum(p["message_weight"] @ t + p["message_bias"], 0) for t in told], axis=0)
    out = layer(x.double(), Graph(len(x), edge_index, None, attr, torch.double))
    np.testing.assert_allclose(out.detach(), expected, atol=1e-9)


def transposed(value: Tensor) -> Tensor:
    return value.t()


def as_is(value: Tensor) -> Tensor:
    return value


def per_head(value: Tensor) -> Tensor:
    return value[0]


Shared = dict[str, tuple[str, Callable[[Tensor], Tensor]]]
"""Our parameters, PyG's of the same meaning, and how one becomes the other."""
GCN: Shared = {"weight": ("lin.weight", transposed), "bias": ("bias", as_is)}
GAT: Shared = GCN | {"att_src": ("att_src", per_head), "att_dst": ("att_dst", per_head)}
GAT2: Shared = {
    "weight": ("lin_l.weight", transposed),
    "target_weight": ("lin_r.weight", transposed),
    "att": ("att", per_head),
    "bias": ("bias", as_is),
}
SAGE: Shared = {
    "neighbor_weight": ("lin_l.weight", transposed),
    "bias": ("lin_l.bias", as_is),
    "weight": ("lin_r.weight", transposed),
}
GIN: Shared = {
    "weight": ("nn.0.weight", transposed),
    "bias": ("nn.0.bias", as_is),
    "norm.weight": ("nn.1.weight", as_is),
    "norm.bias": ("nn.1.bias", as_is),
    "out.weight": ("nn.3.weight", as_is),
    "out.bias": ("nn.3.bias", as_is),
    "eps": ("eps", torch.Tensor.squeeze),
}


def theirs_of(name: str) -> nn.Module:
    from torch_geometric import nn as geometric

    if name == "gin":
        mlp = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3))
        return geometric.GINConv(mlp, train_eps=True)
    kind, _, concat = name.partition(" ")
    heads = {"heads": 3, "concat": concat == "True"} if concat else {}
    return getattr(geometric, kind)(5, 4 if concat else 3, **heads)  # type: ignore[no-any-return]


PAIRS: dict[str, tuple[Callable[[], nn.Module], Shared]] = {
    "GCNConv": (partial(GCNConv, 5, 3), GCN),
    "SAGEConv": (partial(SAGEConv, 5, 3), SAGE),
    "gin": (partial(GINConv, 5, 3), GIN),
    **{f"GATConv {concat}": (partial(attention, "v1", concat), GAT) for concat in (True, False)},
    **{f"GATv2Conv {concat}": (partial(attention, "v2", concat), GAT2) for concat in (True, False)},
}


@pyg
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.slow
def test_a_layer_and_its_gradients_equal_pyg(name: str, training: bool) -> None:
    make, shared = PAIRS[name]
    x, edge_index, _ = random_graph()
    ours, theirs = make().double().train(training), theirs_of(name).double().train(training)
    assert {n for n, _ in ours.named_parameters()} == set(shared)
    for value in theirs.parameters():  # PyG's second version has biases under the scores, the paper has none
        nn.init.zeros_(value)
    for mine, (other, shaped) in shared.items():
        nn.init.normal_(theirs.get_parameter(other))
        ours.get_parameter(mine).data = shaped(theirs.get_parameter(other).data).clone()
    one, two = (x.double().requires_grad_() for _ in range(2))
    out, expected = ours(one, Graph(len(x), edge_index, dtype=torch.double)), theirs(two, edge_index)
    torch.testing.assert_close(out, expected, atol=1e-9, rtol=1e-9)
    pull = torch.randn_like(out)
    out.backward(pull)
    expected.backward(pull)
    torch.testing.assert_close(one.grad, two.grad, atol=1e-9, rtol=1e-9)
    for mine, (other, shaped) in shared.items():
        theirs_grad = theirs.get_parameter(other).grad
        assert theirs_grad is not None
        torch.testing.assert_close(ours.get_parameter(mine).grad, shaped(theirs_grad), atol=1e-9, rtol=1e-9, msg=mine)
    for mean, other_mean in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(mean, other_mean)


@pyg
def test_a_weighted_convolution_equals_pyg() -> None:
    from torch_geometric.nn import GCNConv as PyGGCNConv

    x, edge_index, weight = random_graph()
    theirs, ours = PyGGCNConv(5, 3), GCNConv(5, 3)
    ours.weight.data = theirs.lin.weight.data.t().clone()
    expected = theirs(x, edge_index, weight)
    torch.testing.assert_close(ours(x, Graph(len(x), edge_index, weight)), expected, atol=1e-6, rtol=1e-6)


def test_neighbors_of_a_convolution_weigh_by_both_degrees_not_equally() -> None:
    shares = Graph(3, CHAIN).get_adjacency("symmetric", loops=True) @ torch.eye(3)
    side = 6**-0.5
    torch.testing.assert_close(shares, torch.tensor([[0.5, side, 0], [side, 1 / 3, side], [0, side, 0.5]]))


@pytest.mark.parametrize("norm", ["sum", "mean", "symmetric"])
def test_the_bias_does_not_pass_through_the_adjacency(norm: Any) -> None:
    layer = GCNConv(5, 3, norm)
    nn.init.zeros_(layer.weight)
    nn.init.normal_(layer.bias)
    x, edge_index, _ = random_graph()
    assert torch.equal(layer(x, Graph(len(x), edge_index)), layer.bias.expand(len(x), -1))


@pytest.mark.parametrize("version", ATTENTION_CONVS)
def test_attention_is_shared_among_real_neighbors_only(version: str) -> None:
    nodes = 200  # a softmax over all nodes would leave a single neighbour about 1/200
    x, layer = torch.randn(nodes, 5), attention(version)
    graph = Graph(nodes, torch.tensor([[0], [1]]))
    share = layer.compute_attention(x, layer.project_heads(x, layer.weight), graph)  # type: ignore[operator]
    rows, cols = graph.get_neighbors(3).pattern.rows, graph.get_neighbors(3).pattern.cols
    torch.testing.assert_close(torch.zeros(3 * nodes).index_add(0, rows, share), torch.ones(3 * nodes))
    assert set(zip((rows // 3).tolist(), (cols // 3).tolist(), strict=True)) == {
        (1, 0),
        *((n, n) for n in range(nodes)),
    }
    assert torch.equal(rows % 3, cols % 3), "heads do not see each other"


@pytest.mark.parametrize(("version", "vector"), [("v1", "att_src"), ("v2", "att")])
def test_every_head_attends_by_a_vector_of_its_own(version: str, vector: str) -> None:
    layer: Any = attention(version)
    x, edge_index, _ = random_graph()
    graph = Graph(len(x), edge_index)
    before = layer.compute_attention(x, layer.project_heads(x, layer.weight), graph)
    layer.get_parameter(vector).data[1] += 1.0
    moved = (layer.compute_attention(x, layer.project_heads(x, layer.weight), graph) - before).abs() > 1e-4
    assert set((graph.get_neighbors(3).pattern.rows[moved] % 3).tolist()) == {1}


def test_only_the_second_version_lets_who_asks_decide_whom_to_attend_to() -> None:
    nodes = 12
    every = torch.cartesian_prod(torch.arange(nodes), torch.arange(nodes)).t()
    x = torch.randn(nodes, 5)

    def favourites(layer: GATConv | GATv2Conv) -> Tensor:
        seeded(layer).float()
        share = layer.compute_attention(x, layer.project_heads(x, layer.weight), Graph(nodes, every))
        return share.view(nodes, 3, nodes).argmax(2)

    first, second = (favourites(attention(version)) for version in ATTENTION_CONVS)  # type: ignore[arg-type]
    assert torch.equal(first, first[:1].expand_as(first)), "Brody et al. 2022, theorem 1"
    assert not torch.equal(second, second[:1].expand_as(second))
