"""Graphs from series that were measured together: who goes with whom, whatever the sign."""

from __future__ import annotations

import torch
from torch import Tensor


def absolute_correlation(series: Tensor) -> Tensor:
    """|correlation| of every two columns of a series (T, N), as (N, N) float64 with zeros on the diagonal.

    A column that never changes goes with none.
    """
    centred = series.double() - series.double().mean(0)
    spread = centred.norm(dim=0)
    # What is left of a constant after its mean is rounding, and would correlate perfectly with other rounding.
    is_constant = spread <= 1e-12 * series.double().norm(dim=0)
    unit = centred / spread.masked_fill(is_constant, torch.inf)
    return (unit.t() @ unit).abs().clamp(max=1).fill_diagonal_(0)


def top_k_edges(strength: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """Each node's ``top_k`` strongest links, in both directions if either node has it among its own.

    strength: (N, N) >= 0, symmetric. Gives edge_index (2, E), by source and target, and edge_weight (E,) float32. Of
    equals the first nodes are taken; zero is no link.
    """
    mine = strength.argsort(dim=1, descending=True, stable=True)[:, :top_k]
    kept = torch.zeros_like(strength, dtype=torch.bool).scatter_(1, mine, True)
    edge_index = ((kept | kept.t()) & (strength > 0)).nonzero().t().contiguous()
    return edge_index, strength[edge_index[0], edge_index[1]].float()


def node_roles(strength: Tensor, edge_index: Tensor) -> Tensor:
    """What tells nodes apart whatever they do: how many links arrive, and how strong they are to all others, (N, 2).

    In deviations from the mean over nodes; where all are alike, zeros.
    """
    nodes = len(strength)
    degree = torch.bincount(edge_index[1], minlength=nodes).double()
    found = torch.stack((degree, strength.sum(1) / max(1, nodes - 1)), 1)
    spread, mean = torch.std_mean(found, 0, correction=0)
    return ((found - mean) / spread.where(spread > 1e-9, torch.inf)).float()


def node_features(series: Tensor, roles: Tensor) -> Tensor:
    """A series (T, N) as features of nodes at every step, (T, N, 1 + roles)."""
    return torch.cat((series.float()[..., None], roles.expand(len(series), *roles.shape)), 2)
