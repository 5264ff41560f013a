"""Batches of a large graph: some nodes, and around them as much of the graph as a few layers see of it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer import seeding
from trainer.batch import IGNORE, Batch
from trainer.data.base import Split, WholeSplit
from trainer.errors import ConfigError


def around(whole: WholeSplit, neighbours: Sequence[int] | None, seed: int) -> Split:
    """The whole graph as one batch, or batches of its nodes with so many neighbours at each step."""
    return whole if neighbours is None else NeighbourSplit(whole, neighbours, seed)


class NeighbourSplit(Split):
    """The nodes of a graph that have a target, for rows; a batch is the graph sampled around them.

    Hamilton et al. 2017, alg. 2: ``neighbours[h]`` edges into each node that is first met h steps from the batch,
    without replacement, or all where there are no more. What a node draws is a function of (seed, epoch, node) alone:
    neither the batch it is met in nor workers nor a stop change it. A batch has its own nodes first, then those met,
    renumbered; x (N', F), edge_index (2, E'), whatever else edges have, and target (N',), IGNORE but at its own nodes.

    Given as many steps as a model has layers, and all neighbours, the batch's nodes get what they get in the whole
    graph; ``gcn``, which also weighs by the degree of the neighbour, wants one step more. Where edges are left out,
    means are right on average, and sums (``sum``, ``gin``) smaller than in the whole graph.

    Raises ConfigError for no steps at all.
    """

    def __init__(self, whole: WholeSplit, neighbours: Sequence[int], seed: int):
        if not neighbours:
            raise ConfigError("data.neighbours: [] takes no step from a node; null gives the whole graph at once")
        inputs, target = dict(whole.whole.inputs), whole.whole.target
        assert target is not None
        self.whole = whole
        self.neighbours = neighbours
        self.seed = seed
        self.nodes = {"x": inputs.pop("x")}
        self.source, arrives = inputs.pop("edge_index")
        self.edges = inputs
        self.target = target
        self.rows = (target != IGNORE).nonzero().squeeze(1)
        self.by_target = arrives.argsort(stable=True)
        self.starts = F.pad(arrives.bincount(minlength=len(target)).cumsum(0), (1, 0))

    def __len__(self) -> int:
        return len(self.rows)

    def targets(self) -> Tensor:
        return self.target

    def nbytes(self) -> int:
        parts = (*self.whole.whole.inputs.values(), self.target, self.by_target, self.starts)
        return sum(part.nbytes for part in parts)

    def to(self, device: torch.device) -> NeighbourSplit:
        return NeighbourSplit(self.whole.to(device), self.neighbours, self.seed)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        own = self.rows[index.to(self.rows.device)]
        place = torch.full_like(self.target, -1)  # of each node among those met
        place[own] = torch.arange(len(own), device=own.device)
        met, drawn = [own], []
        for hop, most in enumerate(self.neighbours):
            edge, target = self.draw(met[-1], most, seeding.mix(self.seed, epoch, hop))
            source = self.source[edge]
            new = source[place[source] < 0].unique()
            place[new] = torch.arange(len(new), device=own.device) + sum(map(len, met))
            met.append(new)
            drawn.append(torch.stack((edge, place[source], place[target])))
        nodes, (edge, *ends) = torch.cat(met), torch.cat(drawn, 1)
        inputs = {name: value[nodes] for name, value in self.nodes.items()}
        inputs["edge_index"] = torch.stack(ends)
        inputs |= {name: value[edge] for name, value in self.edges.items()}
        counted = torch.full_like(nodes, IGNORE)
        counted[: len(own)] = self.target[own]
        return Batch(inputs, counted, index)

    def draw(self, nodes: Tensor, most: int, seed: int) -> tuple[Tensor, Tensor]:
        """Edges (E',) that arrive at ``nodes``, at most so many at each, every choice as likely; and where they do."""
        first, degree = self.starts[nodes], self.starts[nodes + 1] - self.starts[nodes]
        chosen = torch.arange(most, device=nodes.device).repeat(len(nodes), 1)
        many = (degree > most).nonzero().squeeze(1)
        chance = seeding.uniform(nodes[many], most, seed, 0).double()
        picked = chosen[many]
        for place in range(most):  # Floyd's way (Bentley and Floyd 1987): a choice of k from n takes k draws
            last = degree[many] - most + place
            drawn = (chance[:, place] * (last + 1)).long()
            taken = (picked[:, :place] == drawn[:, None]).any(1)
            picked[:, place] = torch.where(taken, last, drawn)
        chosen[many] = picked
        real = chosen < degree[:, None]
        return self.by_target[(first[:, None] + chosen)[real]], nodes.repeat_interleave(real.sum(1))
