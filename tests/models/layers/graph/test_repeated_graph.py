from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.helpers.graphs import random_graph
from trainer.models.layers.graph.graph import AdjacencyNorm, Graph
from trainer.models.layers.graph.graph_attention import GATConv
from trainer.models.layers.graph.graph_conv import GCNConv
from trainer.models.layers.graph.repeated_graph import RepeatedGraph


def union(nodes: int, edge_index: Tensor, weight: Tensor, count: int) -> Graph:
    """The same with every edge of every copy listed."""
    edges = torch.cat([edge_index + nodes * copy for copy in range(count)], 1)
    return Graph(nodes * count, edges, weight.repeat(count))


@pytest.mark.parametrize("loops", [False, True])
@pytest.mark.parametrize("norm", ["sum", "mean", "symmetric"])
def test_a_matrix_of_copies_is_that_of_their_union_and_so_is_its_transpose(norm: AdjacencyNorm, loops: bool) -> None:
    x, edge_index, weight = random_graph()
    eye = torch.eye(3 * len(x), requires_grad=True)
    found = RepeatedGraph(Graph(len(x), edge_index, weight), 3).get_adjacency(norm, loops) @ eye
    expected = union(len(x), edge_index, weight, 3).get_adjacency(norm, loops) @ eye
    torch.testing.assert_close(found, expected)
    pull = torch.randn_like(found)
    torch.testing.assert_close(*(torch.autograd.grad(out, eye, pull) for out in (found, expected)))


def test_layers_give_each_copy_what_they_give_it_alone() -> None:
    x, edge_index, weight = random_graph()
    graph = Graph(len(x), edge_index, weight)
    moments = torch.randn(4, *x.shape, requires_grad=True)
    gcn, gat = GCNConv(5, 3), GATConv(3, 2, 3, True, 0.0, 0.2)
    copies = RepeatedGraph(graph, 4)
    together = gat(gcn(moments.flatten(0, 1), copies), copies).view(4, len(x), -1)
    alone = torch.stack([gat(gcn(moment, graph), graph) for moment in moments])
    torch.testing.assert_close(together, alone)
    pull = torch.randn_like(alone)
    learned = [moments, *gcn.parameters(), *gat.parameters()]
    torch.testing.assert_close(*(torch.autograd.grad(out, learned, pull) for out in (together, alone)))
