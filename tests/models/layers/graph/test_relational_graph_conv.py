"""The layer with a matrix for each kind of edge, against PyG and a loop in numpy, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.graphs import random_graph
from trainer.models.layers.graph.relational_graph_conv import RelationalGraph, RGCNConv

RELATIONS = 4
pyg = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # torch says so as PyG is imported
both = pytest.mark.parametrize("bases", [None, 2])


def typed_graph() -> tuple[Tensor, Tensor, Tensor]:
    """Features, edges and their relations: some edges twice, one of the relations without any."""
    x, edge_index, _ = random_graph()
    edge_index = torch.cat((edge_index, edge_index[:, :5]), 1)
    return x, edge_index, torch.randint(RELATIONS - 1, edge_index.shape[1:])


def layer_of(bases: int | None) -> RGCNConv:
    layer = RGCNConv(5, 3, RELATIONS, bases)
    nn.init.normal_(layer.bias)
    return layer


def looped(layer: RGCNConv, x: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
    near, own, bias, features = (
        value.detach().double().numpy() for value in (layer.compute_relation_weights(), layer.weight, layer.bias, x)
    )
    out = features @ own + bias
    edges = list(zip(*edge_index.tolist(), edge_type.tolist(), strict=True))
    for i in range(len(x)):
        for r in range(RELATIONS):
            heard = [features[source] for source, target, kind in edges if target == i and kind == r]
            if heard:
                out[i] += np.mean(heard, axis=0) @ near[r]
    return torch.from_numpy(out).float()


@both
def test_it_matches_its_formula(bases: int | None) -> None:
    x, edge_index, edge_type = typed_graph()
    layer = layer_of(bases)
    out = layer(x, RelationalGraph(len(x), edge_index, edge_type, RELATIONS))
    torch.testing.assert_close(out, looped(layer, x, edge_index, edge_type), atol=1e-6, rtol=1e-5)


@pyg
@both
def test_it_and_its_gradients_equal_pyg(bases: int | None) -> None:
    from torch_geometric.nn import RGCNConv

    x, edge_index, edge_type = typed_graph()
    theirs, ours = RGCNConv(5, 3, RELATIONS, num_bases=bases), layer_of(bases)
    pairs = [(theirs.weight, ours.relation_weight), (theirs.root, ours.weight), (theirs.bias, ours.bias)]
    if bases is not None:
        assert ours.basis_coefficients is not None
        pairs.append((theirs.comp, ours.basis_coefficients))
    for their, our in pairs:
        our.data = their.data.clone()
    inputs = [x.clone().requires_grad_() for _ in range(2)]
    expected = theirs(inputs[0], edge_index, edge_type)
    out = ours(inputs[1], RelationalGraph(len(x), edge_index, edge_type, RELATIONS))
    torch.testing.assert_close(out, expected, atol=1e-6, rtol=1e-6)
    pull = torch.randn_like(out)
    expected.backward(pull)
    out.backward(pull)
    pairs.append((inputs[0], inputs[1]))
    for their, our in pairs:
        torch.testing.assert_close(our.grad, their.grad, atol=1e-6, rtol=1e-5)


def test_the_weight_count_matches_the_paper() -> None:
    assert sum(p.numel() for p in RGCNConv(8, 64, 3).parameters()) == 2112
    assert sum(p.numel() for p in RGCNConv(8, 64, 3, bases=2).parameters()) == 2112 - 8 * 64 + 6


def test_a_mean_is_kept_for_pairs_that_occur_alone() -> None:
    edge_index, edge_type = torch.tensor([[0, 1, 2], [5, 5, 5]]), torch.tensor([90, 90, 7])
    graph = RelationalGraph(1000, edge_index, edge_type, 100)
    assert graph.means.pattern.shape == (2, 1000)
    assert {r: count for r, count in enumerate(graph.counts) if count} == {7: 1, 90: 1}


def test_a_graph_without_edges_leaves_the_nodes_themselves() -> None:
    x, edge_index, edge_type = typed_graph()
    layer = layer_of(None)
    out = layer(x, RelationalGraph(len(x), edge_index[:, :0], edge_type[:0], RELATIONS))
    torch.testing.assert_close(out, x @ layer.weight + layer.bias)


def test_an_edge_of_weight_w_equals_w_edges() -> None:
    x, edge_index, edge_type = typed_graph()
    layer, count = layer_of(None), torch.randint(3, edge_type.shape)
    weighted = RelationalGraph(len(x), edge_index, edge_type, RELATIONS, count.float())
    repeated = edge_index.repeat_interleave(count, 1), edge_type.repeat_interleave(count)
    torch.testing.assert_close(layer(x, weighted), layer(x, RelationalGraph(len(x), *repeated, RELATIONS)))
    with pytest.raises(ValueError, match="edge 0 has -1"):
        RelationalGraph(len(x), edge_index, edge_type, RELATIONS, -torch.ones(len(edge_type)))


def test_edges_are_dropped_while_training_only() -> None:
    x, edge_index, edge_type = typed_graph()
    layer = RGCNConv(5, 3, RELATIONS, edge_dropout=1.0)
    graph = RelationalGraph(len(x), edge_index, edge_type, RELATIONS)
    torch.testing.assert_close(layer(x, graph), x @ layer.weight + layer.bias)
    torch.testing.assert_close(layer.eval()(x, graph), looped(layer, x, edge_index, edge_type), atol=1e-6, rtol=1e-5)


def test_an_unknown_relation_is_refused() -> None:
    _, edge_index, edge_type = typed_graph()
    edges = edge_index.shape[1]
    for wrong, words in (
        (edge_type.float(), rf"whole numbers \({edges},\); found float32 \({edges},\)"),
        (torch.randn(edges, 16), rf"found float32 \({edges}, 16\)"),
        (edge_type[1:], rf"for each of {edges} edges"),
        (edge_type.index_fill(0, torch.tensor([4]), RELATIONS), r"edge 4 is of relation 4, but they are 0\.\.3"),
        (edge_type.index_fill(0, torch.tensor([2]), -1), r"edge 2 is of relation -1, but they are 0\.\.3"),
    ):
        with pytest.raises(ValueError, match=words):
            RelationalGraph(9, edge_index, wrong, RELATIONS)
