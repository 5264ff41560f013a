"""Zachary's karate club."""

from __future__ import annotations

import warnings

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import make_node_splits, node_graph_sizes
from trainer.utils.errors import DataError


class Karate(GraphDataset):
    """Zachary's karate club: node classification of 34 members with 78 edges into 4 communities.

    Features are one-hot node ids. One member of each community is for training, ``val_nodes`` random others for
    validation and the rest for test.

    Args:
        val_nodes: Number of validation nodes, less than 30.
        seed: Random seed of the split.

    References:
        Zachary 1977, An Information Flow Model for Conflict and Fission in Small Groups, J. Anthropological Research
            33(4).
        Kipf and Welling 2017, Semi-Supervised Classification with Graph Convolutional Networks, ICLR (communities).
    """

    shapes = "x (N, F), edge_index (2, E) -> (N)"

    def __init__(self, val_nodes: PositiveInt = 10, seed: NonNegativeInt = 0):
        with warnings.catch_warnings():  # PyG uses deprecated torch functions
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch_geometric.datasets import KarateClub

        club = KarateClub()[0]
        rest = (~club.train_mask).nonzero().squeeze(1)
        if val_nodes >= len(rest):
            raise DataError(
                f"val_nodes: {val_nodes} of the {len(rest)} members outside of training leave none for test"
            )
        order = rest[rng.make_permutation(len(rest), seed, 0)]
        rows = club.train_mask.nonzero().squeeze(1), order[:val_nodes], order[val_nodes:]
        inputs = {"x": club.x, "edge_index": club.edge_index}
        self.train, self.val, self.test = make_node_splits(inputs, club.y, rows)
        classes = int(club.y.max()) + 1
        self.info = DatasetInfo(
            sizes=node_graph_sizes(club.x, classes),
            baseline=baselines.majority_class(self.train, self.test, classes),
        )
