"""Stochastic block model (Holland et al. 1983)."""

from __future__ import annotations

import torch
from torch import Tensor


def block_graph(
    nodes: int, blocks: int, p_within: float, p_across: float, mu: float, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Sample features (N, blocks), adjacency (N, N) bool and the block of each node (N,).

    Two nodes are linked with probability ``p_within`` in the same block and ``p_across`` otherwise; features are
    ``x = mu onehot(block) + normal``. Blocks alternate in node order, so that any prefix of nodes is balanced.

    Args:
        nodes: Number of nodes N.
        blocks: Number of blocks.
        p_within: Probability of an edge within a block.
        p_across: Probability of an edge between blocks.
        mu: Distance of the feature means from the origin.
        generator: Random generator.
    """
    block = torch.arange(nodes) % blocks
    x = mu * torch.eye(blocks)[block] + torch.randn(nodes, blocks, generator=generator)
    probability = torch.where(block[:, None] == block, p_within, p_across)
    upper = (torch.rand(nodes, nodes, generator=generator) < probability).triu(1)
    return x, upper | upper.t(), block
