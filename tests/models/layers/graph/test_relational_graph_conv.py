"""Relational graph convolution against PyG and a numpy loop, and rejected inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.helpers.graphs import random_graph
from trainer.models.layers.graph.relational_graph_conv import RelationalGraph, RGCNConv

RELATIONS = 4
pyg = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")  # raised by torch on import of PyG
with_and_without_bases = pytest.mark.parametrize("bases", [None, 2])


def typed_graph() -> tuple[Tensor, Tensor, Tensor]:
    """Return features, edges and relations, with repeated edges and one unused relation."""
    x, edge_index, _ = random_graph()
    edge_index = torch.cat((edge_index, edge_index[:, :5]), 1)
    return x, edge_index, torch.randint(RELATIONS - 1, edge_index.shape[1:])


def make_layer(bases: int | None) -> RGCNConv:
    layer = RGCNConv(5, 3, RELATIONS, bases)
    nn.init.normal_(layer.bias)
    return layer


def reference_conv(layer: RGCNConv, x: Tensor, edge_index: Tensor, edge_type: Tensor) -> Tensor:
    relation_weight, root_weight, bias, features = (
        value.detach().double().numpy() for value in (layer.compute_relation_weights(), layer.weight, layer.bias, x)
    )
    out = features @ root_weight + bias
    edges = list(zip(*edge_index.tolist(), edge_type.tolist(), strict=True))
    for i in range(len(x)):
        for r in range(RELATIONS):
            messages = [features[source] for source, target, kind in edges if target == i and kind == r]
            if messages:
                out[i] += np.mean(messages, axis=0) @ relation_weight[r]
    return torch.from_numpy(out).float()


@with_and_without_bases
def test_layer_matches_reference(bases: int | None) -> None:
    x, edge_index, edge_type = typed_graph()
    layer = make_layer(bases)
    out = layer(x, RelationalGraph(len(x), edge_index, edge_type, RELATIONS))
    torch.testing.assert_close(out, reference_conv(layer, x, edge_index, edge_type), atol=1e-6, rtol=1e-5)


@pyg
@with_and_without_bases
def test_layer_and_gradients_match_pyg(bases: int | None) -> None:
    from torch_geometric.nn import RGCNConv

    x, edge_index, edge_type = typed_graph()
    theirs, ours = RGCNConv(5, 3, RELATIONS, num_bases=bases), make_layer(bases)
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
    grad_output = torch.randn_like(out)
    expected.backward(grad_output)
    out.backward(grad_output)
    pairs.append((inputs[0], inputs[1]))
    for their, our in pairs:
        torch.testing.assert_close(our.grad, their.grad, atol=1e-6, rtol=1e-5)


def test_parameter_count_matches_paper() -> None:
    assert sum(p.numel() for p in RGCNConv(8, 64, 3).parameters()) == 2112
    assert sum(p.numel() for p in RGCNConv(8, 64, 3, bases=2).parameters()) == 2112 - 8 * 64 + 6


def test_means_are_stored_only_for_existing_pairs() -> None:
    edge_index, edge_type = torch.tensor([[0, 1, 2], [5, 5, 5]]), torch.tensor([90, 90, 7])
    graph = RelationalGraph(1000, edge_index, edge_type, 100)
    assert graph.means.pattern.shape == (2, 1000)
    assert {r: count for r, count in enumerate(graph.counts) if count} == {7: 1, 90: 1}


def test_graph_without_edges_applies_root_weight_only() -> None:
    x, edge_index, edge_type = typed_graph()
    layer = make_layer(None)
    out = layer(x, RelationalGraph(len(x), edge_index[:, :0], edge_type[:0], RELATIONS))
    torch.testing.assert_close(out, x @ layer.weight + layer.bias)


def test_integer_edge_weight_equals_repeated_edges() -> None:
    x, edge_index, edge_type = typed_graph()
    layer, count = make_layer(None), torch.randint(3, edge_type.shape)
    weighted = RelationalGraph(len(x), edge_index, edge_type, RELATIONS, count.float())
    repeated = edge_index.repeat_interleave(count, 1), edge_type.repeat_interleave(count)
    torch.testing.assert_close(layer(x, weighted), layer(x, RelationalGraph(len(x), *repeated, RELATIONS)))
    with pytest.raises(ValueError, match="edge 0 has -1"):
        RelationalGraph(len(x), edge_index, edge_type, RELATIONS, -torch.ones(len(edge_type)))


def test_edge_dropout_applies_only_in_training() -> None:
    x, edge_index, edge_type = typed_graph()
    layer = RGCNConv(5, 3, RELATIONS, edge_dropout=1.0)
    graph = RelationalGraph(len(x), edge_index, edge_type, RELATIONS)
    torch.testing.assert_close(layer(x, graph), x @ layer.weight + layer.bias)
    torch.testing.assert_close(
        layer.eval()(x, graph), reference_conv(layer, x, edge_index, edge_type), atol=1e-6, rtol=1e-5
    )


def test_invalid_relations_raise() -> None:
    _, edge_index, edge_type = typed_graph()
    edges = edge_index.shape[1]
    for invalid, message in (
        (edge_type.float(), rf"whole numbers \({edges},\); found float32 \({edges},\)"),
        (torch.randn(edges, 16), rf"found float32 \({edges}, 16\)"),
        (edge_type[1:], rf"for each of {edges} edges"),
        (edge_type.index_fill(0, torch.tensor([4]), RELATIONS), r"edge 4 is of relation 4, but they are 0\.\.3"),
        (edge_type.index_fill(0, torch.tensor([2]), -1), r"edge 2 is of relation -1, but they are 0\.\.3"),
    ):
        with pytest.raises(ValueError, match=message):
            RelationalGraph(9, edge_index, invalid, RELATIONS)
