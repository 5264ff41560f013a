"""Batches of a large graph: some nodes, and around them as much of the graph as a few layers see of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset import FullBatchSplit, Split
from trainer.utils.errors import ConfigError


def neighbor_batches(whole: FullBatchSplit, neighbours: Sequence[int] | None, seed: int) -> Split:
    """The whole graph as one batch, or batches of its nodes with so many neighbours at each step."""
    return whole if neighbours is None else NeighborSplit(whole, neighbours, seed)


class NeighborSplit(Split):
    """The nodes of a graph that are asked for, as rows; a batch is the graph sampled around some of them.

    Hamilton et al. 2017, alg. 2: ``neighbours[h]`` edges into each node that is first met h steps from the batch,
    without replacement, or all where there are no more. What a node draws is a function of (seed, epoch, node) alone:
    neither the batch it is met in nor workers nor a stop change it. A batch has its own nodes first, then those met,
    renumbered: x (N', F), edge_index (2, E') and whatever else edges have, with targets of its own nodes alone.

    Given as many steps as a model has layers, and all neighbours, the batch's nodes get what they get in the whole
    graph; ``gcn``, which also weighs by the degree of the neighbour, wants one step more. Where edges are left out,
    means are right on average, and sums (``sum``, ``gin``) smaller than in the whole graph.

    Raises ConfigError for no steps at all.
    """

    def __init__(self, graph: FullBatchSplit, neighbours: Sequence[int], seed: int):
        if not neighbours:
            raise ConfigError("data.neighbours: [] takes no step from a node; null gives the whole graph at once")
        whole = graph.full_batch
        assert whole.output_index is not None, "a batch is sampled around nodes that are asked for"
        assert whole.target is not None, "nodes that are asked for have targets"
        self.graph = graph
        self.num_neighbors = neighbours
        self.seed = seed
        self.rows, self.target, self.x = whole.output_index, whole.target, whole.inputs["x"]
        self.source, arrives = whole.inputs["edge_index"]
        self.edges = {name: value for name, value in whole.inputs.items() if name not in ("x", "edge_index")}
        self.edges_by_target = arrives.argsort(stable=True)
        self.starts = F.pad(arrives.bincount(minlength=len(self.x)).cumsum(0), (1, 0))

    def __len__(self) -> int:
        return len(self.rows)

    def count_examples(self) -> tuple[int, str]:
        return len(self), "nodes"

    def get_targets(self) -> Tensor:
        return self.target

    def count_bytes(self) -> int:
        kept = (*self.graph.full_batch.inputs.values(), self.target, self.edges_by_target, self.starts)
        return sum(part.nbytes for part in kept)

    def to(self, device: torch.device) -> NeighborSplit:
        return NeighborSplit(self.graph.to(device), self.num_neighbors, self.seed)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        at = index.to(self.rows.device)
        own = self.rows[at]
        place = torch.full_like(self.starts, -1)  # of each node among those met
        place[own] = torch.arange(len(own), device=own.device)
        met, drawn = [own], []
        for hop, most in enumerate(self.num_neighbors):
            edge, target = self.sample_neighbors(met[-1], most, rng.hash_seed(self.seed, epoch, hop))
            source = self.source[edge]
            new = source[place[source] < 0].unique()
            place[new] = torch.arange(len(new), device=own.device) + sum(map(len, met))
            met.append(new)
            drawn.append(torch.stack((edge, place[source], place[target])))
        edge, *ends = torch.cat(drawn, 1)
        inputs = {"x": self.x[torch.cat(met)], "edge_index": torch.stack(ends)}
        inputs |= {name: value[edge] for name, value in self.edges.items()}
        return Batch(inputs, self.target[at], index, place[own])

    def sample_neighbors(self, nodes: Tensor, most: int, seed: int) -> tuple[Tensor, Tensor]:
        """Edges (E',) that arrive at ``nodes``, at most so many at each, every choice as likely; and where they do."""
        first, degree = self.starts[nodes], self.starts[nodes + 1] - self.starts[nodes]
        chosen = torch.arange(most, device=nodes.device).repeat(len(nodes), 1)
        many = (degree > most).nonzero().squeeze(1)
        chance = rng.draw_uniform(nodes[many], most, seed, 0).double()
        picked = chosen[many]
        for turn in range(most):  # Floyd's way (Bentley and Floyd 1987): a choice of k from n takes k draws
            last = degree[many] - most + turn
            drawn = (chance[:, turn] * (last + 1)).long()
            taken = (picked[:, :turn] == drawn[:, None]).any(1)
            picked[:, turn] = torch.where(taken, last, drawn)
        chosen[many] = picked
        real = chosen < degree[:, None]
        return self.edges_by_target[(first[:, None] + chosen)[real]], nodes.repeat_interleave(real.sum(1))
