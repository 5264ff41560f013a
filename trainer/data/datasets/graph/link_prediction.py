"""Synthetic link prediction on a stochastic block model."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, GraphInfo
from trainer.core.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.generators.stochastic_block_model import block_graph
from trainer.data.reference import bayes_optimal
from trainer.data.splits.graph_batches import SplitWithSharedInputs, node_graph_sizes
from trainer.data.splits.negative_sampling import NonEdges, split_links, to_undirected


class SBMLinkPrediction(Dataset):
    """Link prediction on a graph of the stochastic block model.

    Links for validation and test are removed from the graph. Every split has as many negative as positive pairs;
    training negatives are resampled in every epoch. The best possible score knows the block of every node, which alone
    determines link probabilities.

    Args:
        nodes: Number of nodes.
        blocks: Number of blocks of equal size.
        p_within: Link probability within a block.
        p_across: Link probability between blocks.
        mu: Scale of the block feature, relative to unit noise.
        val: Fraction of the links for validation.
        test: Fraction of the links for test.
        seed: Random seed of the data.

    References:
        Holland, Laskey and Leinhardt 1983, Stochastic Blockmodels: First Steps, Social Networks 5(2).
    """

    shapes = "x (N, F), edge_index (2, E), pairs (P, 2) -> (P)"

    def __init__(
        self,
        nodes: PositiveInt = 1000,
        blocks: PositiveInt = 4,
        p_within: Fraction = 0.02,
        p_across: Fraction = 0.002,
        mu: NonNegativeFloat = 1.0,
        val: Fraction = 0.1,
        test: Fraction = 0.2,
        seed: NonNegativeInt = 0,
    ):
        x, linked, block = block_graph(nodes, blocks, p_within, p_across, mu, rng.make_generator(seed))
        links = linked.triu().nonzero()
        train_links, val_links, test_links = split_links(links, partial(NonEdges.from_graph, nodes), val, test, seed)
        graph = {"x": x, "edge_index": to_undirected(train_links.links)}
        self.train, self.val, self.test = (
            SplitWithSharedInputs(rows, graph) for rows in (train_links, val_links, test_links)
        )
        pairs, target = test_links.inputs["pairs"], test_links.target
        assert target is not None
        self.info = DatasetInfo(
            sizes=node_graph_sizes(x) | {"num_classes": 2, "out_features": 1},
            baseline={"auc": 0.5, "average_precision": 0.5, "accuracy": 0.5, "nll": math.log(2)},
            best_possible=bayes_optimal.log_odds_optimum(
                _link_log_odds(block, p_within, p_across)[pairs[:, 0], pairs[:, 1]], target
            ),
            graph=GraphInfo(node_classes=block),
        )


def _link_log_odds(block: Tensor, p_within: float, p_across: float) -> Tensor:
    """Return the log-odds (N, N) that a pair is linked, among balanced positive and negative pairs."""
    probability = torch.where(block[:, None] == block, p_within, p_across).double()
    off_diagonal = ~torch.eye(len(block), dtype=torch.bool)
    density = probability[off_diagonal].mean()
    return probability.logit() - density.logit()
