"""Graphs made on the spot some of whose links are held out."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.generators.stochastic_block_model import block_graph
from trainer.data.reference import bayes_optimal
from trainer.data.splits.graph_batches import SplitWithSharedInputs, node_graph_sizes
from trainer.data.splits.negative_sampling import NonEdges, split_links, to_undirected


class SBMLinkPrediction(Dataset):
    """Are two nodes linked? The graph is one of the stochastic block model (Holland et al. 1983) without the links that
    are held out to validate and to test. Every split has as many pairs that are linked as pairs that are not, and those
    of training are other ones in every epoch. The best possible score knows the block of every node, on which alone
    links depend.
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
        train, of_val, of_test = split_links(links, partial(NonEdges.from_graph, nodes), val, test, seed)
        graph = {"x": x, "edge_index": to_undirected(train.links)}
        self.train, self.val, self.test = (SplitWithSharedInputs(rows, graph) for rows in (train, of_val, of_test))
        pairs, truth = of_test.inputs["pairs"], of_test.target
        assert truth is not None
        self.info = DatasetInfo(
            sizes=node_graph_sizes(x) | {"num_classes": 2, "out_features": 1},
            baseline={"auc": 0.5, "average_precision": 0.5, "accuracy": 0.5, "nll": math.log(2)},
            best_possible=bayes_optimal.log_odds_optimum(
                _link_log_odds(block, p_within, p_across)[pairs[:, 0], pairs[:, 1]], truth
            ),
            node_classes=block,
        )


def _link_log_odds(block: Tensor, p_within: float, p_across: float) -> Tensor:
    """The log-odds (N, N) that a pair is linked, among as many pairs that are as pairs that are not."""
    chance = torch.where(block[:, None] == block, p_within, p_across).double()
    apart = ~torch.eye(len(block), dtype=torch.bool)
    share = chance[apart].mean()
    return chance.logit() - share.logit()
