"""Synthetic node regression with informative edge features."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import FullBatchSplit
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding.graph_dataset import GraphDataset
from trainer.data.reference import baselines
from trainer.data.splits.graph_batches import node_graph_sizes
from trainer.utils.errors import DataError


class EdgeSignal(GraphDataset):
    """Node regression on the edge-weighted mean of neighbor features.

    ``y_i = mean_j e_ji x_j + noise`` over the edges j -> i, with one standard normal feature per node and per edge; the
    target of a node without incoming edges is noise. Every split is a separate graph. The best possible score knows
    everything except the noise.

    Args:
        nodes: Number of nodes in each of the three graphs.
        degree: Mean in-degree, less than ``nodes``.
        noise: Standard deviation of the target noise.
        seed: Random seed of the data.
    """

    shapes = "x (N, F), edge_index (2, E), edge_attr (E, D) -> (N, K)"

    def __init__(
        self, nodes: PositiveInt = 400, degree: PositiveInt = 6, noise: NonNegativeFloat = 0.1, seed: NonNegativeInt = 0
    ):
        if degree >= nodes:
            raise DataError(f"degree: {degree} neighbors for each of {nodes} nodes; there are only {nodes - 1} others")
        random = rng.make_generator(seed)
        graphs = [_graph(nodes, degree, random) for _ in ("train", "val", "test")]
        targets = [clean + noise * torch.randn(nodes, 1, generator=random) for _, clean in graphs]
        self.train, self.val, self.test = (
            FullBatchSplit(inputs, target) for (inputs, _), target in zip(graphs, targets, strict=True)
        )
        self.info = DatasetInfo(
            sizes=node_graph_sizes(self.train.full_batch.inputs["x"]) | {"edge_features": 1, "out_features": 1},
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible=baselines.regression_scores(graphs[2][1], targets[2]),
        )


def _graph(nodes: int, degree: int, random: torch.Generator) -> tuple[dict[str, Tensor], Tensor]:
    """Return model inputs with ``nodes * degree`` distinct edges between random nodes, and the noise-free targets."""
    pair = torch.randperm(nodes * (nodes - 1), generator=random)[: nodes * degree]
    target, other = pair // (nodes - 1), pair % (nodes - 1)
    source = other + (other >= target).long()  # among all nodes but the target
    x, attr = torch.randn(nodes, 1, generator=random), torch.randn(len(pair), 1, generator=random)
    total = torch.zeros(nodes, 1).index_add(0, target, attr * x[source])
    mean = total / target.bincount(minlength=nodes).clamp(min=1)[:, None]
    return {"x": x, "edge_index": torch.stack((source, target)), "edge_attr": attr}, mean
