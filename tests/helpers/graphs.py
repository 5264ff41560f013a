"""Graph networks and graphs of a few nodes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import pytest
import torch
from torch import Tensor, nn

from trainer.models.graph.gnn import GAT, GNN, EdgeGNN
from trainer.models.layers.graph.message_passing import CONV_LAYERS, ConvKind

Make = Callable[..., nn.Module]


def gnn(features: int = 5, classes: int = 3, conv: ConvKind = "gcn") -> nn.Module:
    return GNN(features, classes, conv, hidden=[4, 6], dropout=0.5).eval()


def gat(features: int = 5, classes: int = 3, version: Literal["v1", "v2"] = "v1") -> nn.Module:
    return GAT(features, classes, version, [4], 2, 3, dropout=0.5, attention_dropout=0.5, negative_slope=0.2).eval()


class WeightAsFeature(EdgeGNN):
    """A network whose only edge feature is the weight."""

    def forward(self, x: Tensor, edge_index: Tensor, edge_weight: Tensor | None = None) -> Tensor:  # type: ignore[override]
        weight = torch.ones_like(edge_index[0], dtype=x.dtype) if edge_weight is None else edge_weight
        return super().forward(x, edge_index, weight[:, None])


def edge_gnn(features: int = 5, classes: int = 3) -> nn.Module:
    return WeightAsFeature(features, classes, edge_features=1, hidden=[4, 4], dropout=0.5).eval()


WEIGHTED: dict[str, Make] = {
    **{conv: partial(gnn, conv=conv) for conv in CONV_LAYERS},
    "gat": gat,
    "gat_v2": partial(gat, version="v2"),
}
"""Models that read an edge of weight w as w edges."""
EVERY: dict[str, Make] = WEIGHTED | {"edge": edge_gnn}
weighted = pytest.mark.parametrize("make", WEIGHTED.values(), ids=WEIGHTED)
every = pytest.mark.parametrize("make", EVERY.values(), ids=EVERY)


def random_graph(nodes: int = 9, edges: int = 30) -> tuple[Tensor, Tensor, Tensor]:
    """Return features, edges and weights of a directed graph with a self-loop and an isolated last node."""
    torch.manual_seed(1)
    pairs = torch.randperm((nodes - 1) ** 2)[:edges]
    edge_index = torch.stack((pairs // (nodes - 1), pairs % (nodes - 1)))
    edge_index[:, 0] = 2
    edge_index = edge_index.unique(dim=1)
    return torch.randn(nodes, 5), edge_index, torch.rand(edge_index.shape[1]) + 0.1
