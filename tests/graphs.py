"""Graph networks and graphs of a few nodes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.models.gnn import GAT, GNN


def gcn(features: int = 5, classes: int = 3) -> nn.Module:
    return GNN(features, classes, "gcn", hidden=[4, 6], dropout=0.5).eval()


def gat(features: int = 5, classes: int = 3) -> nn.Module:
    return GAT(features, classes, [4], 2, 3, dropout=0.5, attention_dropout=0.5, negative_slope=0.2).eval()


both = pytest.mark.parametrize("make", [gcn, gat])


def random_graph(nodes: int = 9, edges: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Directed, with a loop, the last node without any edge: features, edges and weights."""
    torch.manual_seed(1)
    pairs = torch.randperm((nodes - 1) ** 2)[:edges]
    edge_index = torch.stack((pairs // (nodes - 1), pairs % (nodes - 1)))
    edge_index[:, 0] = 2
    edge_index = edge_index.unique(dim=1)
    return torch.randn(nodes, 5), edge_index, torch.rand(edge_index.shape[1]) + 0.1
