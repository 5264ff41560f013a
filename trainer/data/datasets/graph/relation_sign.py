"""Synthetic node classification with relation-dependent edge weights."""

from __future__ import annotations

import torch

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import consecutive_node_split, make_node_splits, node_graph_sizes


class RelationSign(GraphDataset):
    """Node classification by the sign of a relation-weighted sum over neighbors.

    ``y_i = [sum_(j -> i) w_r x_j0 > 0]`` with r the relation of the edge and w evenly spaced from -1 to 1. Each node
    has ``degree`` random neighbors per relation, so sum and mean aggregation are equivalent; a model that ignores
    relations has weights that sum to 0.

    Args:
        nodes: Number of nodes.
        degree: In-degree per relation.
        relations: Number of relations.
        features: Number of node features; only the first is informative.
        labeled_nodes: Number of training nodes.
        val_nodes: Number of validation nodes; the remaining nodes are for test.
        seed: Random seed of the data.
    """

    shapes = "x (N, F), edge_index (2, E), edge_type (E) -> (N)"

    def __init__(
        self,
        nodes: PositiveInt = 2000,
        degree: PositiveInt = 2,
        relations: PositiveInt = 3,
        features: PositiveInt = 4,
        labeled_nodes: PositiveInt = 1000,
        val_nodes: PositiveInt = 300,
        seed: NonNegativeInt = 0,
    ):
        rows = consecutive_node_split(nodes, labeled_nodes, val_nodes)
        random = rng.make_generator(seed)
        x = torch.randn(nodes, features, generator=random)
        target = torch.arange(nodes).repeat_interleave(relations * degree)
        source = torch.randint(nodes, target.shape, generator=random)
        edge_type = torch.arange(relations).repeat_interleave(degree).repeat(nodes)
        weight = torch.linspace(-1, 1, relations) if relations > 1 else torch.ones(1)
        label = (torch.zeros(nodes).index_add(0, target, weight[edge_type] * x[source, 0]) > 0).long()

        inputs = {"x": x, "edge_index": torch.stack((source, target)), "edge_type": edge_type}
        self.train, self.val, self.test = make_node_splits(inputs, label, rows)
        self.info = DatasetInfo(
            sizes=node_graph_sizes(x, 2) | {"num_relations": relations},
            baseline=baselines.majority_class(self.train, self.test, 2),
            best_possible={"accuracy": 1.0},
        )
