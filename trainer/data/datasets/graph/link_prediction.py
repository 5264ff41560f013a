"""Synthetic link prediction on a stochastic block model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, GraphInfo
from trainer.core.types import Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding.node_names import NodeNames, TableFormat
from trainer.data.encoding.pair_reader import NodePairs, PairReader
from trainer.data.generators.stochastic_block_model import block_graph
from trainer.data.reference import bayes_optimal
from trainer.data.splits.candidate_pairs import PairSplit, get_graph_inputs
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
        self.train, self.val = (SplitWithSharedInputs(rows, graph) for rows in (train_links, val_links))
        pairs, target = test_links.inputs["pairs"], test_links.require_target()
        self.test = PairSplit(pairs, target, graph, _name_nodes(nodes).describe)
        self.info = DatasetInfo(
            sizes=node_graph_sizes(x) | {"num_classes": 2, "out_features": 1},
            baseline={"auc": 0.5, "average_precision": 0.5, "accuracy": 0.5, "nll": math.log(2)},
            best_possible=bayes_optimal.log_odds_optimum(
                _link_log_odds(block, p_within, p_across)[pairs[:, 0], pairs[:, 1]], target
            ),
            graph=GraphInfo(node_classes=block),
        )

    def read_chunks(
        self,
        path: str | None = None,
        with_targets: bool = False,
        top_k: PositiveInt | None = None,
        on_error: Literal["error", "skip"] = "error",
    ) -> Iterator[PairSplit]:
        """Read pairs of nodes from a table; with ``top_k``, all pairs that are not linked in the training graph.

        Args:
            path: File with the numbers of two nodes per row, or, with ``top_k``, of one node.
            with_targets: Read a column ``link`` of 0 and 1 too.
            top_k: Number of the most probable new links, in the whole graph or of each node in the file.
            on_error: Refuse a file with an unknown node, or skip its rows.
        """
        return self._make_reader().read(path, with_targets, top_k, on_error)

    def encode_rows(self, rows: Any) -> PairSplit:
        """Encode pairs of nodes.

        Args:
            rows: Pairs of node numbers (P, 2), or a data frame or dicts with node_1 and node_2.
        """
        return self._make_reader().encode(rows)

    def row_schema(self) -> dict[str, Any]:
        return self._make_reader().describe_row()

    def _make_reader(self) -> PairReader:
        names = _name_nodes(self.info.sizes["num_nodes"])
        return PairReader(names, get_graph_inputs(self.train), TableFormat(), target="link")


def _name_nodes(count: int) -> NodePairs:
    names = NodeNames("node", [str(node) for node in range(count)])
    return NodePairs(names, names)


def _link_log_odds(block: Tensor, p_within: float, p_across: float) -> Tensor:
    """Return the log-odds (N, N) that a pair is linked, among balanced positive and negative pairs."""
    probability = torch.where(block[:, None] == block, p_within, p_across).double()
    off_diagonal = ~torch.eye(len(block), dtype=torch.bool)
    density = probability[off_diagonal].mean()
    return probability.logit() - density.logit()
