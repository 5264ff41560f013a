from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.graphs import random_graph
from trainer.models.layers.graph.graph import AdjacencyNorm, Graph
from trainer.models.layers.graph.graph_attention import GATConv
from trainer.models.layers.graph.graph_conv import GCNConv
from trainer.models.layers.graph.repeated_graph import RepeatedGraph


def concatenate_copies(nodes: int, edge_index: Tensor, weight: Tensor, count: int) -> Graph:
    """Build the graph that lists the edges of every copy."""
    edges = torch.cat([edge_index + nodes * copy for copy in range(count)], 1)
    return Graph(nodes * count, edges, weight.repeat(count))


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("norm", ["sum", "mean", "symmetric"])
def test_adjacency_and_gradient_match_disjoint_union(norm: AdjacencyNorm, loops: bool) -> None:
    x, edge_index, weight = random_graph()
    eye = torch.eye(3 * len(x), requires_grad=True)
    output = RepeatedGraph(Graph(len(x), edge_index, weight), 3).get_adjacency(norm, loops) @ eye
    expected = concatenate_copies(len(x), edge_index, weight, 3).get_adjacency(norm, loops) @ eye
    torch.testing.assert_close(output, expected)
    grad_output = torch.randn_like(output)
    torch.testing.assert_close(*(torch.autograd.grad(out, eye, grad_output) for out in (output, expected)))


def test_layers_match_single_graph_per_copy() -> None:
    x, edge_index, weight = random_graph()
    graph = Graph(len(x), edge_index, weight)
    moments = torch.randn(4, *x.shape, requires_grad=True)
    gcn, gat = GCNConv(5, 3), GATConv(3, 2, 3, True, 0.0, 0.2)
    copies = RepeatedGraph(graph, 4)
    batched = gat(gcn(moments.flatten(0, 1), copies), copies).view(4, len(x), -1)
    separate = torch.stack([gat(gcn(moment, graph), graph) for moment in moments])
    torch.testing.assert_close(batched, separate)
    grad_output = torch.randn_like(separate)
    parameters = [moments, *gcn.parameters(), *gat.parameters()]
    torch.testing.assert_close(*(torch.autograd.grad(out, parameters, grad_output) for out in (batched, separate)))
