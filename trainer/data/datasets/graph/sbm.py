"""Synthetic node classification on a stochastic block model."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt, Probability
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.generators.stochastic_block_model import block_graph
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import consecutive_node_split, make_node_splits, node_graph_sizes


class StochasticBlockModel(GraphDataset):
    """Stochastic block model with block-dependent features.

    Two nodes are linked with probability ``p_within`` in the same block and ``p_across`` otherwise; features are
    ``x = mu onehot(block) + normal`` and the class is the block. The best possible score knows the blocks of all other
    nodes.

    Args:
        nodes: Number of nodes.
        blocks: Number of blocks (classes) of equal size.
        p_within: Link probability within a block.
        p_across: Link probability between blocks.
        mu: Scale of the block feature, relative to unit noise.
        labeled_nodes: Number of training nodes.
        val_nodes: Number of validation nodes; the remaining nodes are for test.
        seed: Random seed of the data.

    References:
        Holland, Laskey and Leinhardt 1983, Stochastic Blockmodels: First Steps, Social Networks 5(2).
    """

    shapes = "x (N, F), edge_index (2, E) -> (N)"

    def __init__(
        self,
        nodes: PositiveInt = 400,
        blocks: PositiveInt = 4,
        p_within: Probability = 0.05,
        p_across: Probability = 0.005,
        mu: NonNegativeFloat = 1.0,
        labeled_nodes: PositiveInt = 40,
        val_nodes: PositiveInt = 100,
        seed: NonNegativeInt = 0,
    ):
        rows = consecutive_node_split(nodes, labeled_nodes, val_nodes)
        x, linked, block = block_graph(nodes, blocks, p_within, p_across, mu, rng.make_generator(seed))
        inputs = {"x": x, "edge_index": linked.nonzero().t().contiguous()}
        self.train, self.val, self.test = make_node_splits(inputs, block, rows)
        self.info = DatasetInfo(
            sizes=node_graph_sizes(x, blocks),
            baseline=baselines.majority_class(self.train, self.test, blocks),
            best_possible={"accuracy": _bayes_accuracy(x, linked, block, p_within, p_across, mu)},
        )


def _bayes_accuracy(x: Tensor, linked: Tensor, block: Tensor, p_within: float, p_across: float, mu: float) -> float:
    """Return the accuracy of the most likely block, given features and links of a node and all other blocks."""
    member = torch.nn.functional.one_hot(block).double()
    links = linked.double() @ member  # (N, blocks), to nodes of each block
    absent = member.sum(0) - member - links
    log_within, log_across = (
        torch.tensor([p, 1 - p], dtype=torch.float64).clamp(min=1e-300).log() for p in (p_within, p_across)
    )
    # For a node of block k, links and non-links to block k follow p_within instead of p_across.
    gain = log_within - log_across
    score = mu * x.double() + links * gain[0] + absent * gain[1]
    return float((score.argmax(1) == block).double().mean())
