"""Properties shared by all graph networks, on graphs with loops, isolated nodes and zero weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.graphs import Make, every, random_graph, weighted
from trainer.models.graph.gnn import GAT
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_attention import ATTENTION_CONVS
from trainer.models.layers.graph.graph_conv import EdgeMessageConv
from trainer.models.layers.graph.sparse import SparseMatrix, to_sparse_if_mostly_zero

CHAIN = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])


@every
def test_outputs_are_equivariant_to_node_order(make: Make) -> None:
    x, edge_index, weight = random_graph()
    model, order = make(), torch.randperm(9)
    new_index = order.argsort()  # where each old node went
    shuffled = torch.randperm(edge_index.shape[1])
    out = model(x[order], new_index[edge_index][:, shuffled], weight[shuffled])
    torch.testing.assert_close(out, model(x, edge_index, weight)[order], atol=1e-6, rtol=1e-5)


@every
def test_isolated_node_depends_on_its_own_features(make: Make) -> None:
    x, edge_index, _ = random_graph()
    model = make()
    out = model(x, edge_index)
    assert out.isfinite().all()
    torch.testing.assert_close(out[-1:], model(x[-1:], edge_index[:, :0]), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(out[-1], model(x + 1, edge_index)[-1])


@every
def test_batched_graphs_match_single_graphs(make: Make) -> None:
    x, edge_index, weight = random_graph()
    other_x, other, other_weight = x[:4] - 1, CHAIN, weight[:4]
    model = make()
    out = model(torch.cat((x, other_x)), torch.cat((edge_index, other + 9), 1), torch.cat((weight, other_weight)))
    torch.testing.assert_close(out[:9], model(x, edge_index, weight), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(out[9:], model(other_x, other, other_weight), atol=1e-6, rtol=1e-5)


@every
def test_edge_weights_change_outputs(make: Make) -> None:
    x, edge_index, weight = random_graph()
    model = make()
    assert not torch.allclose(model(x, edge_index, weight), model(x, edge_index), atol=1e-4)


@weighted
def test_integer_edge_weights_equal_repeated_edges(make: Make) -> None:
    x, edge_index, _ = random_graph()
    edge_index = edge_index[:, edge_index[0] != edge_index[1]]
    count = torch.arange(edge_index.shape[1]) % 3
    repeated = edge_index.repeat_interleave(count, 1)
    model = make()
    out = model(x, edge_index, count.float())
    torch.testing.assert_close(out, model(x, repeated), atol=1e-6, rtol=1e-5)
    assert not torch.allclose(out, model(x, edge_index))


@weighted
@pytest.mark.parametrize("invalid", [-0.5, float("nan"), float("inf")])
def test_negative_or_nonfinite_edge_weights_raise(make: Make, invalid: float) -> None:
    with pytest.raises(ValueError, match="weights must be finite and >= 0; edge 2 has"):
        make()(torch.randn(3, 5), CHAIN, torch.tensor([1.0, 1.0, invalid, 1.0]))


@every
def test_invalid_edges_raise(make: Make) -> None:
    x = torch.randn(3, 5)
    with pytest.raises(ValueError, match=r"edge 1 is 1 -> 3, but nodes are 0\.\.2"):
        make()(x, torch.tensor([[0, 1], [1, 3]]))
    with pytest.raises(ValueError, match="expected whole numbers"):
        make()(x, CHAIN.float())
    with pytest.raises(ValueError, match=r"\b3\b.* for 4 edges"):
        make()(x, CHAIN, torch.ones(3))


@every
@pytest.mark.parametrize("classes", [3, 100])
def test_sparse_features_match_dense_features(make: Make, classes: int) -> None:
    x, edge_index, _ = random_graph()
    wide = torch.zeros(9, 100)
    wide[:, ::20] = x
    model = make(100, classes)
    grads = []
    for features in (wide, wide.to_sparse(), wide.clone().requires_grad_()):
        model.zero_grad()
        out = model(features, edge_index)
        out.square().sum().backward()
        grads.append([out.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)])
    assert isinstance(to_sparse_if_mostly_zero(wide), SparseMatrix)
    assert to_sparse_if_mostly_zero(features) is None
    for sparse, dense in [*zip(grads[0], grads[2], strict=True), *zip(grads[1], grads[2], strict=True)]:
        torch.testing.assert_close(sparse, dense, atol=1e-5, rtol=1e-4)


@every
def test_model_gradients_match_finite_differences(make: Make) -> None:
    x, edge_index, weight = random_graph(5, 8)
    model = make().double()
    names, values = zip(*model.named_parameters(), strict=True)

    def call(weight: Tensor, x: Tensor, *parameters: Tensor) -> Tensor:
        named_values = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(model, named_values, (x, edge_index, weight))

    inputs = [weight.double(), x.double(), *(v.detach().clone() for v in values)]
    assert torch.autograd.gradcheck(call, [value.requires_grad_() for value in inputs], fast_mode=True)


def test_parameter_counts_match_published_models() -> None:
    gat = GAT(16, 8, "v1", [8], 4, 1, dropout=0.6, attention_dropout=0.6, negative_slope=0.2)
    edge = EdgeMessageConv(16, 16, 4)
    assert [sum(p.numel() for p in module.parameters()) for module in (gat, edge)] == [888, 592]


@pytest.mark.parametrize("version", ATTENTION_CONVS)
def test_node_with_only_zero_weight_edges_outputs_bias(version: str) -> None:
    """As in every other convolution, an edge of weight 0 is no edge, self-loops included."""
    x, layer = torch.randn(4, 5).double().requires_grad_(), ATTENTION_CONVS[version](5, 4, 3, True, 0.0, 0.2).double()  # type: ignore[index]
    torch.nn.init.normal_(layer.bias)
    edges, weight = torch.tensor([[0, 1, 1, 2], [1, 0, 1, 3]]), torch.tensor([0.0, 0.0, 0.0, 1.0])
    out = layer(x, Graph(4, edges, weight, dtype=torch.double))
    assert torch.equal(out[1], layer.get_parameter("bias"))
    without_zero_edges = layer(x, Graph(4, edges[:, [3]], weight[[3]], dtype=torch.double))
    torch.testing.assert_close(out[[0, 2, 3]], without_zero_edges[[0, 2, 3]])
    out.square().sum().backward()
    assert all(value.grad is not None and value.grad.isfinite().all() for value in (x, *layer.parameters()))
    assert x.grad is not None
    assert not x.grad[1].any()
