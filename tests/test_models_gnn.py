"""Graph networks against PyG with the same weights, against loops in numpy, and on graphs that break careless ones."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from graphs import both, random_graph
from torch import Tensor, nn

from trainer.errors import ConfigError
from trainer.models.layers.convolutions import GraphAttention, GraphConvolution
from trainer.models.layers.graph import Graph
from trainer.models.layers.sparse import Pattern, Sparse, dropout, product, row_softmax, sparse_if_mostly_zero

CHAIN = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


pyg = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch says so as PyG is imported


def numpy_gcn(layer: GraphConvolution, x: Tensor, edge_index: Tensor, weight: Tensor | None) -> Tensor:
    adjacency = np.zeros((len(x), len(x)))
    for k, (source, target) in enumerate(edge_index.t().tolist()):
        adjacency[target, source] += 1.0 if weight is None else float(weight[k])
    for node in range(len(x)):
        adjacency[node, node] = adjacency[node, node] or 1.0
    root = np.sqrt(adjacency.sum(1))
    mixed = (adjacency / root[:, None] / root[None, :]) @ (x.double().numpy() @ layer.weight.detach().double().numpy())
    return torch.from_numpy(mixed + layer.bias.detach().double().numpy()).float()


def numpy_gat(layer: GraphAttention, x: Tensor, edge_index: Tensor, weight: Tensor | None) -> Tensor:
    count = {(node, node): 1.0 for node in range(len(x))}
    for k, (source, target) in enumerate(edge_index.t().tolist()):
        count[target, source] = 1.0 if weight is None else float(weight[k])
    h = layer.project(x).detach().double().numpy()
    out = np.zeros_like(h)
    for head in range(layer.heads):
        source, target = (a[head].detach().double().numpy() for a in (layer.source, layer.target))
        for i in range(len(x)):
            near = [j for j in range(len(x)) if (i, j) in count]
            score = [float(target @ h[i, head] + source @ h[j, head]) for j in near]
            share = [count[i, j] * math.exp(s if s > 0 else 0.2 * s) for s, j in zip(score, near, strict=True)]
            out[i, head] = sum(w * h[j, head] for w, j in zip(share, near, strict=True)) / sum(share)
    flat = out.reshape(len(x), -1) if layer.concat else out.mean(1)
    return torch.from_numpy(flat + layer.bias.detach().double().numpy()).float()


@pytest.mark.parametrize("weighted", [False, True])
def test_convolution_is_the_formula(weighted: bool) -> None:
    x, edge_index, weight = random_graph()
    given = weight if weighted else None
    layer = GraphConvolution(5, 3)
    nn.init.normal_(layer.bias)
    out = layer(x, Graph(len(x), edge_index, given))
    torch.testing.assert_close(out, numpy_gcn(layer, x, edge_index, given), atol=1e-6, rtol=1e-5)


def test_normalisation_of_a_chain() -> None:
    adjacency = Graph(3, CHAIN).adjacency("symmetric", loops=True) @ torch.eye(3)
    side = 6**-0.5
    torch.testing.assert_close(adjacency, torch.tensor([[0.5, side, 0], [side, 1 / 3, side], [0, side, 0.5]]))


@pytest.mark.parametrize("concat", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_attention_is_the_formula(weighted: bool, concat: bool) -> None:
    x, edge_index, weight = random_graph()
    given = weight if weighted else None
    layer = GraphAttention(5, 4, heads=3, concat=concat, dropout=0.0, negative_slope=0.2)
    nn.init.normal_(layer.bias)
    out = layer(x, Graph(len(x), edge_index, given))
    torch.testing.assert_close(out, numpy_gat(layer, x, edge_index, given), atol=1e-6, rtol=1e-5)


@pyg
@pytest.mark.parametrize("weighted", [False, True])
def test_convolution_and_its_gradient_equal_pyg(weighted: bool) -> None:
    from torch_geometric.nn import GCNConv

    x, edge_index, weight = random_graph()
    given = weight if weighted else None
    theirs, ours = GCNConv(5, 3), GraphConvolution(5, 3)
    ours.weight.data = theirs.lin.weight.data.t().clone()
    expected = theirs(x, edge_index, given)
    out = ours(x, Graph(len(x), edge_index, given))
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)
    pull = torch.randn_like(out)
    out.backward(pull)
    expected.backward(pull)
    torch.testing.assert_close(ours.weight.grad, theirs.lin.weight.grad.t(), atol=1e-5, rtol=1e-5)


@pyg
@pytest.mark.parametrize("concat", [False, True])
def test_attention_and_its_gradient_equal_pyg(concat: bool) -> None:
    from torch_geometric.nn import GATConv

    x, edge_index, _ = random_graph()
    theirs = GATConv(5, 4, heads=3, concat=concat)
    ours = GraphAttention(5, 4, heads=3, concat=concat, dropout=0.0, negative_slope=0.2)
    ours.weight.data = theirs.lin.weight.data.t().clone()
    ours.source.data, ours.target.data = theirs.att_src.data[0].clone(), theirs.att_dst.data[0].clone()
    expected = theirs(x, edge_index)
    out = ours(x, Graph(len(x), edge_index))
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)
    pull = torch.randn_like(out)
    out.backward(pull)
    expected.backward(pull)
    torch.testing.assert_close(ours.weight.grad, theirs.lin.weight.grad.t(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.source.grad, theirs.att_src.grad[0], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.target.grad, theirs.att_dst.grad[0], atol=1e-5, rtol=1e-5)


def test_attention_is_shared_among_real_neighbours_only() -> None:
    nodes = 200  # a softmax over all nodes would leave a single neighbour about 1/200
    edge_index = torch.tensor([[0], [1]])
    layer = GraphAttention(3, 2, heads=2, concat=True, dropout=0.0, negative_slope=0.2)
    graph = Graph(nodes, edge_index)
    share, near = layer.attention(layer.project(torch.randn(nodes, 3)), graph), graph.neighbours(2)
    torch.testing.assert_close(torch.zeros(2 * nodes).index_add(0, near.pattern.rows, share), torch.ones(2 * nodes))
    assert {(r // 2, c // 2) for r, c in zip(near.pattern.rows.tolist(), near.pattern.cols.tolist(), strict=True)} == {
        (1, 0),
        *((n, n) for n in range(nodes)),
    }
    assert bool((near.pattern.rows % 2 == near.pattern.cols % 2).all())  # heads do not see each other


def test_every_head_attends_by_itself() -> None:
    layer = GraphAttention(5, 4, heads=3, concat=True, dropout=0.0, negative_slope=0.2)
    x, edge_index, _ = random_graph()
    graph = Graph(len(x), edge_index)
    near = graph.neighbours(3)
    before = layer.attention(layer.project(x), graph)
    layer.source.data[1] += 1.0
    moved = (layer.attention(layer.project(x), graph) - before).abs() > 1e-4
    assert set((near.pattern.rows[moved] % 3).tolist()) == {1}


def test_attention_survives_huge_scores() -> None:
    pattern, _ = Pattern.of(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), (2, 2))
    share = row_softmax(pattern, torch.tensor([1000.0, 1000.0, -1000.0]))
    torch.testing.assert_close(share, torch.tensor([0.5, 0.5, 1.0]))


@both
def test_outputs_follow_the_order_of_nodes(make: Callable[[], nn.Module]) -> None:
    x, edge_index, weight = random_graph()
    model, order = make(), torch.randperm(9)
    place = order.argsort()  # where each old node went
    shuffled = torch.randperm(edge_index.shape[1])
    out = model(x[order], place[edge_index][:, shuffled], weight[shuffled])
    torch.testing.assert_close(out, model(x, edge_index, weight)[order], atol=1e-6, rtol=1e-5)


@both
def test_a_node_without_edges_sees_itself(make: Callable[[], nn.Module]) -> None:
    x, edge_index, _ = random_graph()
    model = make()
    out = model(x, edge_index)
    assert out.isfinite().all()
    torch.testing.assert_close(out[-1:], model(x[-1:], edge_index[:, :0]))
    assert not torch.allclose(out[-1], model(x + 1, edge_index)[-1])


@both
def test_an_edge_of_weight_zero_is_no_edge(make: Callable[[], nn.Module]) -> None:
    x, edge_index, weight = random_graph()
    apart = edge_index[0] != edge_index[1]
    edge_index, weight = edge_index[:, apart], weight[apart]
    model = make()
    cut = weight * (torch.arange(len(weight)) != 3)
    out = model(x, edge_index, cut)
    torch.testing.assert_close(out, model(x, edge_index[:, cut > 0], cut[cut > 0]), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(out, model(x, edge_index, weight))


@both
@pytest.mark.parametrize("bad", [-0.5, float("nan")])
def test_weights_below_zero_are_refused(make: Callable[[], nn.Module], bad: float) -> None:
    with pytest.raises(ConfigError, match="weights must be >= 0; edge 2 has"):
        make()(torch.randn(3, 5), CHAIN, torch.tensor([1.0, 1.0, bad, 1.0]))


@both
def test_edges_that_cannot_be_are_refused(make: Callable[[], nn.Module]) -> None:
    x = torch.randn(3, 5)
    with pytest.raises(ConfigError, match=r"edge 1 is 1 -> 3, but nodes are 0\.\.2"):
        make()(x, torch.tensor([[0, 1], [1, 3]]))
    with pytest.raises(ConfigError, match="expected whole numbers"):
        make()(x, CHAIN.float())
    with pytest.raises(ConfigError, match=r"\(3,\) weights for 4 edges"):
        make()(x, CHAIN, torch.ones(3))


@both
def test_sparse_features_are_dense_features(make: Callable[[int], nn.Module]) -> None:
    x, edge_index, _ = random_graph()
    wide = torch.zeros(9, 100)
    wide[:, ::20] = x
    model = make(100)
    grads = []
    for features in (wide, wide.to_sparse(), wide.clone().requires_grad_()):
        model.zero_grad()
        out = model(features, edge_index)
        out.square().sum().backward()
        grads.append([out.detach(), *(p.grad.clone() for p in model.parameters())])
    assert isinstance(sparse_if_mostly_zero(wide), Sparse)
    assert sparse_if_mostly_zero(features) is None
    for sparse, dense in [*zip(grads[0], grads[2], strict=True), *zip(grads[1], grads[2], strict=True)]:
        torch.testing.assert_close(sparse, dense, atol=1e-6, rtol=1e-5)


@both
def test_gradients_of_whole_models(make: Callable[[], nn.Module]) -> None:
    x, edge_index, weight = random_graph(5, 8)
    model = make().double()
    names, values = zip(*model.named_parameters(), strict=True)

    def call(weight: Tensor, x: Tensor, *parameters: Tensor) -> Tensor:
        held = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(model, held, (x, edge_index, weight))

    inputs = [weight.double(), x.double(), *(v.detach().clone() for v in values)]
    assert torch.autograd.gradcheck(call, [value.requires_grad_() for value in inputs])


def test_gradients_of_the_primitives() -> None:
    torch.manual_seed(0)
    rows, cols = torch.tensor([3, 0, 0, 2, 3]), torch.tensor([1, 2, 0, 1, 2])  # row 1 is empty
    pattern, _ = Pattern.of(rows, cols, (4, 3))
    values = torch.randn(5, dtype=torch.double, requires_grad=True)
    dense = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, d: product(pattern, v, d), (values, dense))
    assert torch.autograd.gradcheck(lambda v: row_softmax(pattern, v), (values,))


def test_dropout_keeps_the_mean_and_drops_the_share() -> None:
    torch.manual_seed(0)
    ones = torch.ones(1001, 999)
    for p in (0.1, 0.5, 0.6):
        out = dropout(ones, p, training=True)
        assert abs(float((out == 0).float().mean()) - p) < 0.002
        assert out.unique().tolist() == [0.0, pytest.approx(1 / (1 - p), rel=1e-4)]
    # Neighbours are drawn apart: columns of one 64-bit word are not alike.
    out = dropout(torch.ones(4000, 4), 0.5, training=True)
    assert (torch.corrcoef(out.t()) - torch.eye(4)).abs().max() < 0.08
    assert torch.equal(dropout(ones, 0.5, training=False), ones)
    assert not dropout(ones, 1.0, training=True).any()


def test_dropout_touches_the_entries_of_sparse_features_only() -> None:
    x = torch.eye(400)
    sparse = sparse_if_mostly_zero(x)
    assert isinstance(sparse, Sparse)
    out = dropout(sparse, 0.5, training=True) @ torch.eye(400)
    assert not out[~x.bool()].any()
    assert 140 < int((out.diagonal() == 2).sum()) < 260
