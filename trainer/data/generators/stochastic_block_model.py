"""Nodes in blocks: the stochastic block model (Holland et al. 1983)."""

from __future__ import annotations

import torch
from torch import Tensor


def block_graph(
    nodes: int, blocks: int, p_within: float, p_across: float, mu: float, random: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Features (N, blocks), who is linked (N, N) bool, and the block of each node (N,).

    Two nodes are linked with a chance that depends on whether they share a block; ``x = mu onehot(block) + normal``.
    Blocks take turns in the order of nodes, so that any first nodes hold equally many of each.
    """
    block = torch.arange(nodes) % blocks
    x = mu * torch.eye(blocks)[block] + torch.randn(nodes, blocks, generator=random)
    chance = torch.where(block[:, None] == block, p_within, p_across)
    upper = (torch.rand(nodes, nodes, generator=random) < chance).triu(1)
    return x, upper | upper.t(), block
