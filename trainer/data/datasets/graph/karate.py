"""The members of a club that parted in two, and who met whom outside it."""

from __future__ import annotations

import warnings

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import make_node_splits, node_graph_sizes
from trainer.utils.errors import ConfigError


class Karate(Dataset):
    """Zachary 1977: 34 members, 78 friendships; the classes are 4 communities found in it (as in Kipf and Welling
    2017), ``x`` says which member a node is and nothing else. One member of each community is for training,
    ``val_nodes`` random others validate, all that are left are the test.
    """

    shapes = "x (N, F), edge_index (2, E) -> (N)"

    def __init__(self, val_nodes: PositiveInt = 10, seed: NonNegativeInt = 0):
        with warnings.catch_warnings():  # that torch has deprecated what PyG uses is nobody's concern here
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch_geometric.datasets import KarateClub

        club = KarateClub()[0]
        rest = (~club.train_mask).nonzero().squeeze(1)
        if val_nodes >= len(rest):
            raise ConfigError(
                f"data.val_nodes: {val_nodes} of {len(rest)} members that are not for training leave none"
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
