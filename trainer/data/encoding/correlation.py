"""Graphs from the absolute correlations of multivariate series."""

from __future__ import annotations

import torch
from torch import Tensor


def absolute_correlation(series: Tensor) -> Tensor:
    """Compute |correlation| of all pairs of columns of a series (T, N), as (N, N) float64 with a zero diagonal.

    Constant columns have zero correlation.
    """
    centered = series.double() - series.double().mean(0)
    norm = centered.norm(dim=0)
    # A centered constant is rounding error, which would correlate perfectly with other rounding errors.
    is_constant = norm <= 1e-12 * series.double().norm(dim=0)
    unit = centered / norm.masked_fill(is_constant, torch.inf)
    return (unit.t() @ unit).abs().clamp(max=1).fill_diagonal_(0)


def top_k_edges(strength: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Select the ``top_k`` strongest edges of each node, in both directions if either node selects it.

    Ties are broken by node order; zero strength is no edge.

    Args:
        strength: Strength of each pair of nodes.
        top_k: Number of neighbors that each node selects.

    Shape:
        - strength: (N, N), >= 0 and symmetric
        - Output: edge_index (2, E), sorted by source and target, and edge_weight (E,) float32
    """
    neighbors = strength.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    selected = torch.zeros_like(strength, dtype=torch.bool).scatter_(1, neighbors, True)
    edge_index = ((selected | selected.t()) & (strength > 0)).nonzero().t().contiguous()
    return edge_index, strength[edge_index[0], edge_index[1]].float()


def node_roles(strength: Tensor, edge_index: Tensor) -> Tensor:
    """Compute static node features (N, 2): in-degree and mean strength, standardized over nodes (zero if constant).

    Args:
        strength: Strength of each pair of nodes, (N, N).
        edge_index: Edges, (2, E).
    """
    nodes = len(strength)
    degree = torch.bincount(edge_index[1], minlength=nodes).double()
    features = torch.stack((degree, strength.sum(1) / max(1, nodes - 1)), 1)
    std, mean = torch.std_mean(features, 0, correction=0)
    return ((features - mean) / std.where(std > 1e-9, torch.inf)).float()


def node_features(series: Tensor, roles: Tensor) -> Tensor:
    """Concatenate a series (T, N) with static node features to (T, N, 1 + roles).

    Args:
        series: Series of each node, (T, N).
        roles: Static node features, (N, roles).
    """
    return torch.cat((series.float()[..., None], roles.expand(len(series), *roles.shape)), 2)
