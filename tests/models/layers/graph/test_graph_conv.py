"""Graph convolutions against numpy loops and against PyG with the same weights."""

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
pyg = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # raised by torch on import of PyG


def randomize(layer: nn.Module) -> nn.Module:
    for value in layer.parameters():
        nn.init.normal_(value)
    return layer.double()


def make_attention(version: str, concat: bool = True) -> nn.Module:
    return ATTENTION_CONVS[version](5, 4, heads=3, concat=concat, dropout=0.0, negative_slope=0.2)  # type: ignore[index]


def to_numpy(layer: nn.Module) -> dict[str, Array]:
    return {name.replace(".", "_"): value.detach().numpy() for name, value in layer.named_parameters()}


def reference_adjacency(edge_index: Tensor, weight: Tensor, nodes: int, loops: bool) -> Array:
    matrix = np.zeros((nodes, nodes))
    for source, target, value in zip(*edge_index.tolist(), weight.tolist(), strict=True):
        matrix[target, source] = value
    if loops:
        for node in range(nodes):
            matrix[node, node] = matrix[node, node] or 1.0
    return matrix


def reference_gcn(x: Array, adjacency: Array, p: dict[str, Array], norm: str) -> Array:
    degree = adjacency.sum(1)
    out = np.zeros((len(x), p["weight"].shape[1]))
    for i, j in np.argwhere(adjacency):
        scale = {"sum": 1.0, "mean": degree[i], "symmetric": math.sqrt(degree[i] * degree[j])}[norm]
        out[i] += adjacency[i, j] / scale * (x[j] @ p["weight"])
    return out + p["bias"]


def reference_sage(x: Array, adjacency: Array, p: dict[str, Array]) -> Array:
    means = [row @ x / row.sum() if row.any() else np.zeros(x.shape[1]) for row in adjacency]
    return x @ p["weight"] + np.array(means) @ p["neighbor_weight"] + p["bias"]


def reference_gin(x: Array, adjacency: Array, p: dict[str, Array]) -> Array:
    h = ((1 + p["eps"]) * x + adjacency @ x) @ p["weight"] + p["bias"]
    h = (h - h.mean(0)) / np.sqrt(h.var(0) + 1e-5) * p["norm_weight"] + p["norm_bias"]
    return np.maximum(h, 0) @ p["out_weight"].T + p["out_bias"]


def reference_gat(x: Array, adjacency: Array, p: dict[str, Array], version: str, concat: bool) -> Array:
    h = (x @ p["weight"]).reshape(len(x), 3, 4)
    t = (x @ p.get("target_weight", p["weight"])).reshape(len(x), 3, 4)
    leaky = {True: 1.0, False: 0.2}
    out = np.zeros_like(h)
    for i, head in np.ndindex(len(x), 3):
        weights = np.zeros(len(x))
        for j in np.flatnonzero(adjacency[i]):
            if version == "v1":
                score = p["att_dst"][head] @ h[i, head] + p["att_src"][head] @ h[j, head]
                score *= leaky[bool(score > 0)]
            else:
                score = sum(p["att"][head] * [u * leaky[bool(u > 0)] for u in t[i, head] + h[j, head]])
            weights[j] = adjacency[i, j] * math.exp(score)
        out[i, head] = weights / weights.sum() @ h[:, head]
    return (out.reshape(len(x), -1) if concat else out.mean(1)) + p["bias"]


REFERENCES: dict[str, tuple[Callable[[], nn.Module], bool, Callable[..., Array]]] = {
    **{
        norm: (partial(GCNConv, 5, 3, norm), True, partial(reference_gcn, norm=norm))  # type: ignore[arg-type]
        for norm in ("sum", "mean", "symmetric")
    },
    "sage": (partial(SAGEConv, 5, 3), False, reference_sage),
    "gin": (partial(GINConv, 5, 3), False, reference_gin),
    **{
        f"{version} {concat}": (
            partial(make_attention, version, concat),
            True,
            partial(reference_gat, version=version, concat=concat),
        )
        for version in ATTENTION_CONVS
        for concat in (True, False)
    },
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", REFERENCES)
def test_layer_matches_reference(name: str, weighted: bool) -> None:
    make, loops, reference = REFERENCES[name]
    x, edge_index, weight = random_graph()
    layer, weights = randomize(make()), weight.double() if weighted else None
    out = layer(x.double(), Graph(len(x), edge_index, weights, dtype=torch.double))
    adjacency = reference_adjacency(edge_index, weight.double() if weighted else torch.ones(len(weight)), len(x), loops)
    np.testing.assert_allclose(out.detach(), reference(x.double().numpy(), adjacency, to_numpy(layer)), atol=1e-9)


@pytest.mark.parametrize("width", [5, 3])
def test_edge_message_conv_matches_reference(width: int) -> None:
    x, edge_index, _ = random_graph()
    attr = torch.randn(edge_index.shape[1], 2).double()
    layer = randomize(EdgeMessageConv(5, width, 2))
    p, h = to_numpy(layer), x.double().numpy()
    expected = h @ p["weight"] if "weight" in p else h.copy()
    for i in range(len(x)):
        incoming = [k for k, target in enumerate(edge_index[1].tolist()) if target == i]
        message_inputs = [np.concatenate((h[i], h[edge_index[0, k]], attr[k].numpy())) for k in incoming]
        if message_inputs:
            expected[i] += np.mean(
                [np.maximum(p["message_weight"] @ t + p["message_bias"], 0) for t in message_inputs], axis=0
            )
    out = layer(x.double(), Graph(len(x), edge_index, None, attr, torch.double))
    np.testing.assert_allclose(out.detach(), expected, atol=1e-9)


def transpose(value: Tensor) -> Tensor:
    return value.t()


def identity(value: Tensor) -> Tensor:
    return value


def first_head(value: Tensor) -> Tensor:
    return value[0]


ParameterMap = dict[str, tuple[str, Callable[[Tensor], Tensor]]]
"""Parameter names, the matching names in PyG, and the conversion from PyG."""
GCN: ParameterMap = {"weight": ("lin.weight", transpose), "bias": ("bias", identity)}
GAT: ParameterMap = GCN | {"att_src": ("att_src", first_head), "att_dst": ("att_dst", first_head)}
GAT2: ParameterMap = {
    "weight": ("lin_l.weight", transpose),
    "target_weight": ("lin_r.weight", transpose),
    "att": ("att", first_head),
    "bias": ("bias", identity),
}
SAGE: ParameterMap = {
    "neighbor_weight": ("lin_l.weight", transpose),
    "bias": ("lin_l.bias", identity),
    "weight": ("lin_r.weight", transpose),
}
GIN: ParameterMap = {
    "weight": ("nn.0.weight", transpose),
    "bias": ("nn.0.bias", identity),
    "norm.weight": ("nn.1.weight", identity),
    "norm.bias": ("nn.1.bias", identity),
    "out.weight": ("nn.3.weight", identity),
    "out.bias": ("nn.3.bias", identity),
    "eps": ("eps", torch.Tensor.squeeze),
}


def make_pyg_layer(name: str) -> nn.Module:
    from torch_geometric import nn as geometric

    if name == "gin":
        mlp = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3), nn.ReLU(), nn.Linear(3, 3))
        return geometric.GINConv(mlp, train_eps=True)
    kind, _, concat = name.partition(" ")
    heads = {"heads": 3, "concat": concat == "True"} if concat else {}
    return getattr(geometric, kind)(5, 4 if concat else 3, **heads)  # type: ignore[no-any-return]


PAIRS: dict[str, tuple[Callable[[], nn.Module], ParameterMap]] = {
    "GCNConv": (partial(GCNConv, 5, 3), GCN),
    "SAGEConv": (partial(SAGEConv, 5, 3), SAGE),
    "gin": (partial(GINConv, 5, 3), GIN),
    **{f"GATConv {concat}": (partial(make_attention, "v1", concat), GAT) for concat in (True, False)},
    **{f"GATv2Conv {concat}": (partial(make_attention, "v2", concat), GAT2) for concat in (True, False)},
}


@pyg
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.slow
def test_layer_and_gradients_match_pyg(name: str, training: bool) -> None:
    make, shared = PAIRS[name]
    x, edge_index, _ = random_graph()
    ours, theirs = make().double().train(training), make_pyg_layer(name).double().train(training)
    assert {n for n, _ in ours.named_parameters()} == set(shared)
    for value in theirs.parameters():  # PyG's second version has biases under the scores, the paper has none
        nn.init.zeros_(value)
    for own_name, (pyg_name, convert) in shared.items():
        nn.init.normal_(theirs.get_parameter(pyg_name))
        ours.get_parameter(own_name).data = convert(theirs.get_parameter(pyg_name).data).clone()
    ours_x, theirs_x = (x.double().requires_grad_() for _ in range(2))
    out, expected = ours(ours_x, Graph(len(x), edge_index, dtype=torch.double)), theirs(theirs_x, edge_index)
    torch.testing.assert_close(out, expected, atol=1e-9, rtol=1e-9)
    grad_output = torch.randn_like(out)
    out.backward(grad_output)
    expected.backward(grad_output)
    torch.testing.assert_close(ours_x.grad, theirs_x.grad, atol=1e-9, rtol=1e-9)
    for own_name, (pyg_name, convert) in shared.items():
        theirs_grad = theirs.get_parameter(pyg_name).grad
        assert theirs_grad is not None
        torch.testing.assert_close(
            ours.get_parameter(own_name).grad, convert(theirs_grad), atol=1e-9, rtol=1e-9, msg=own_name
        )
    for buffer, pyg_buffer in zip(ours.buffers(), theirs.buffers(), strict=True):
        torch.testing.assert_close(buffer, pyg_buffer)


@pyg
def test_weighted_gcn_conv_matches_pyg() -> None:
    from torch_geometric.nn import GCNConv as PyGGCNConv

    x, edge_index, weight = random_graph()
    theirs, ours = PyGGCNConv(5, 3), GCNConv(5, 3)
    ours.weight.data = theirs.lin.weight.data.t().clone()
    expected = theirs(x, edge_index, weight)
    torch.testing.assert_close(ours(x, Graph(len(x), edge_index, weight)), expected, atol=1e-6, rtol=1e-6)


def test_symmetric_norm_uses_both_degrees() -> None:
    weights = Graph(3, CHAIN).get_adjacency("symmetric", loops=True) @ torch.eye(3)
    off_diagonal = 6**-0.5
    torch.testing.assert_close(
        weights, torch.tensor([[0.5, off_diagonal, 0], [off_diagonal, 1 / 3, off_diagonal], [0, off_diagonal, 0.5]])
    )


@pytest.mark.parametrize("norm", ["sum", "mean", "symmetric"])
def test_bias_is_added_after_propagation(norm: Any) -> None:
    layer = GCNConv(5, 3, norm)
    nn.init.zeros_(layer.weight)
    nn.init.normal_(layer.bias)
    x, edge_index, _ = random_graph()
    assert torch.equal(layer(x, Graph(len(x), edge_index)), layer.bias.expand(len(x), -1))


@pytest.mark.parametrize("version", ATTENTION_CONVS)
def test_attention_is_normalized_over_neighbors_only(version: str) -> None:
    nodes = 200  # a softmax over all nodes would give a single neighbor about 1/200
    x, layer = torch.randn(nodes, 5), make_attention(version)
    graph = Graph(nodes, torch.tensor([[0], [1]]))
    weights = layer.compute_attention(x, layer.project_heads(x, layer.weight), graph)  # type: ignore[operator]
    rows, cols = graph.get_neighbors(3).pattern.rows, graph.get_neighbors(3).pattern.cols
    torch.testing.assert_close(torch.zeros(3 * nodes).index_add(0, rows, weights), torch.ones(3 * nodes))
    assert set(zip((rows // 3).tolist(), (cols // 3).tolist(), strict=True)) == {
        (1, 0),
        *((n, n) for n in range(nodes)),
    }
    assert torch.equal(rows % 3, cols % 3), "heads do not mix"


@pytest.mark.parametrize(("version", "vector"), [("v1", "att_src"), ("v2", "att")])
def test_each_head_has_its_own_attention_vector(version: str, vector: str) -> None:
    layer: Any = make_attention(version)
    x, edge_index, _ = random_graph()
    graph = Graph(len(x), edge_index)
    before = layer.compute_attention(x, layer.project_heads(x, layer.weight), graph)
    layer.get_parameter(vector).data[1] += 1.0
    changed = (layer.compute_attention(x, layer.project_heads(x, layer.weight), graph) - before).abs() > 1e-4
    assert set((graph.get_neighbors(3).pattern.rows[changed] % 3).tolist()) == {1}


def test_only_gatv2_ranks_neighbors_by_query() -> None:
    nodes = 12
    every = torch.cartesian_prod(torch.arange(nodes), torch.arange(nodes)).t()
    x = torch.randn(nodes, 5)

    def top_neighbors(layer: GATConv | GATv2Conv) -> Tensor:
        randomize(layer).float()
        weights = layer.compute_attention(x, layer.project_heads(x, layer.weight), Graph(nodes, every))
        return weights.view(nodes, 3, nodes).argmax(2)

    v1, v2 = (top_neighbors(make_attention(version)) for version in ATTENTION_CONVS)  # type: ignore[arg-type]
    assert torch.equal(v1, v1[:1].expand_as(v1)), "Brody et al. 2022, theorem 1"
    assert not torch.equal(v2, v2[:1].expand_as(v2))
