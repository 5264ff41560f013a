"""Neighbor sampling for mini-batch training on large graphs."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.device_copy import copy_to_device
from trainer.core.split import FullBatchSplit, Split
from trainer.utils.errors import DataError


def neighbor_batches(split: FullBatchSplit, num_neighbors: Sequence[int] | None, seed: int) -> Split:
    """Return the full-batch split, or a ``NeighborSplit`` with the given numbers of neighbors per hop.

    Args:
        split: Full-batch split of a graph.
        num_neighbors: Maximum number of neighbors sampled per node at each hop; None for the full graph.
        seed: Random seed.
    """
    return split if num_neighbors is None else NeighborSplit(split, num_neighbors, seed)


class NeighborSplit(Split):
    """Split whose rows are the output nodes of a graph; a batch is the subgraph sampled around some of them.

    For each node first reached at hop h, up to ``num_neighbors[h]`` incoming edges are sampled without replacement.
    Samples depend on (seed, epoch, node) only, not on batch, workers or resuming. A batch has its own nodes first, then
    the sampled ones, relabeled: x (N', F), edge_index (2, E') and other edge inputs, with targets of its own nodes.

    With as many hops as model layers and all neighbors, outputs equal those on the full graph; ``gcn``, which
    normalizes by the degree of the neighbor, needs one more hop. With sampling, mean aggregation is unbiased and sums
    (``sum``, ``gin``) are smaller than on the full graph.

    Args:
        graph: Full-batch split of a graph with output nodes.
        num_neighbors: Maximum number of neighbors sampled per node at each hop.
        seed: Random seed.

    Raises:
        DataError: ``num_neighbors`` is empty.

    References:
        Hamilton et al. 2017, Inductive Representation Learning on Large Graphs, alg. 2.
    """

    def __init__(self, graph: FullBatchSplit, num_neighbors: Sequence[int], seed: int):
        if not num_neighbors:
            raise DataError("num_neighbors: [] has no hops; use null for full-batch training")
        full_batch = graph.full_batch
        assert full_batch.output_index is not None, "neighbor sampling needs output nodes"
        assert full_batch.target is not None, "output nodes need targets"
        self.graph = graph
        self.num_neighbors = num_neighbors
        self.seed = seed
        self.rows, self.target, self.x = full_batch.output_index, full_batch.target, full_batch.inputs["x"]
        self.source, target_nodes = full_batch.inputs["edge_index"]
        self.edges = {name: value for name, value in full_batch.inputs.items() if name not in ("x", "edge_index")}
        self.edges_by_target = target_nodes.argsort(stable=True)
        self.starts = F.pad(target_nodes.bincount(minlength=len(self.x)).cumsum(0), (1, 0))

    def __len__(self) -> int:
        return len(self.rows)

    def count_examples(self) -> tuple[int, str]:
        return len(self), "nodes"

    def get_targets(self) -> Tensor:
        return self.target

    def count_bytes(self) -> int:
        tensors = (*self.graph.full_batch.inputs.values(), self.target, self.edges_by_target, self.starts)
        return sum(part.nbytes for part in tensors)

    def to(self, device: torch.device) -> NeighborSplit:
        return NeighborSplit(self.graph.to(device), self.num_neighbors, self.seed)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        rows = copy_to_device(index, self.rows.device)
        batch_nodes = self.rows[rows]
        local_index = torch.full_like(self.starts, -1)  # index of each node in the batch
        local_index[batch_nodes] = torch.arange(len(batch_nodes), device=batch_nodes.device)
        nodes_by_hop, edges_by_hop = [batch_nodes], []
        for hop, max_neighbors in enumerate(self.num_neighbors):
            edge, target = self.sample_neighbors(nodes_by_hop[-1], max_neighbors, rng.hash_seed(self.seed, epoch, hop))
            source = self.source[edge]
            new_nodes = source[local_index[source] < 0].unique()
            num_nodes = sum(map(len, nodes_by_hop))
            local_index[new_nodes] = torch.arange(len(new_nodes), device=batch_nodes.device) + num_nodes
            nodes_by_hop.append(new_nodes)
            edges_by_hop.append(torch.stack((edge, local_index[source], local_index[target])))
        edge, *ends = torch.cat(edges_by_hop, 1)
        inputs = {"x": self.x[torch.cat(nodes_by_hop)], "edge_index": torch.stack(ends)}
        inputs |= {name: value[edge] for name, value in self.edges.items()}
        return Batch(inputs, self.target[rows], index, local_index[batch_nodes])

    def sample_neighbors(self, nodes: Tensor, max_neighbors: int, seed: int) -> tuple[Tensor, Tensor]:
        """Sample incoming edges (E',) of each node uniformly, and return them with their target nodes (E',).

        Args:
            nodes: Nodes, (N,).
            max_neighbors: Maximum number of edges of a node.
            seed: Random seed.
        """
        first, degree = self.starts[nodes], self.starts[nodes + 1] - self.starts[nodes]
        offsets = torch.arange(max_neighbors, device=nodes.device).repeat(len(nodes), 1)
        oversized = (degree > max_neighbors).nonzero().squeeze(1)
        uniform = rng.draw_uniform(nodes[oversized], max_neighbors, seed, 0).double()
        sampled = offsets[oversized]
        for draw in range(max_neighbors):  # Floyd's algorithm (Bentley and Floyd 1987): k of n in k draws
            last = degree[oversized] - max_neighbors + draw
            candidate = (uniform[:, draw] * (last + 1)).long()
            is_taken = (sampled[:, :draw] == candidate[:, None]).any(1)
            sampled[:, draw] = torch.where(is_taken, last, candidate)
        offsets[oversized] = sampled
        mask = offsets < degree[:, None]
        return self.edges_by_target[(first[:, None] + offsets)[mask]], nodes.repeat_interleave(mask.sum(1))
