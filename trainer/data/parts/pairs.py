"""Pairs of nodes, some linked and as many not: drawn anew each epoch, or held out."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer import seeding
from trainer.batch import Batch
from trainer.data.base import Split, TensorSplit
from trainer.errors import ConfigError

BITS = 24
"""Of one uniform number; two of them are one number of twice as many."""


class Gaps:
    """The ordered pairs of N nodes that are not among those ``taken`` (K, 2), in either order, and no loops.

    They are numbered in turn, and the one of a number is found by bisection: nothing of size N x N is held.
    """

    def __init__(self, nodes: int, taken: Tensor):
        loops = torch.arange(nodes, device=taken.device) * (nodes + 1)
        keys = torch.cat((taken[:, 0] * nodes + taken[:, 1], taken[:, 1] * nodes + taken[:, 0], loops)).unique()
        self.nodes = nodes
        self.before = keys - torch.arange(len(keys), device=keys.device)  # gaps before each pair that is none

    def __len__(self) -> int:
        return self.nodes**2 - len(self.before)

    def __getitem__(self, number: Tensor) -> Tensor:
        """Numbers (P,) in 0..len - 1 as pairs (P, 2)."""
        key = number + torch.searchsorted(self.before, number, right=True)
        return torch.stack((key // self.nodes, key % self.nodes), dim=1)

    def draw(self, index: Tensor, seed: int, epoch: int) -> Tensor:
        """A gap for each row of ``index``, (P, 2), all equally likely."""
        high, low = (seeding.uniform(index, 2, seed, epoch) * 2**BITS).long().unbind(1)
        return self[high * len(self) + (low * len(self) >> BITS) >> BITS]

    def to(self, device: torch.device) -> Gaps:
        moved = Gaps.__new__(Gaps)
        moved.nodes, moved.before = self.nodes, self.before.to(device)
        return moved


class LinksAndGaps(Split):
    """Links (E, 2), and as many gaps that are other ones in every epoch."""

    def __init__(self, links: Tensor, gaps: Gaps, seed: int):
        self.links = links
        self.gaps = gaps
        self.seed = seed

    def __len__(self) -> int:
        return 2 * len(self.links)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        index = index.to(self.links.device)
        linked = index < len(self.links)
        links = self.links[index.clamp(max=len(self.links) - 1)]
        pairs = torch.where(linked[:, None], links, self.gaps.draw(index, self.seed, epoch))
        return Batch({"pairs": pairs}, linked.long(), index)

    def targets(self) -> Tensor:
        return (torch.arange(len(self)) < len(self.links)).long()

    def nbytes(self) -> int:
        return self.links.nbytes + self.gaps.before.nbytes

    def to(self, device: torch.device) -> LinksAndGaps:
        return LinksAndGaps(self.links.to(device), self.gaps.to(device), self.seed)


def held_out(linked: Tensor, val: float, test: float, seed: int) -> tuple[LinksAndGaps, TensorSplit, TensorSplit]:
    """Links of a graph without direction, ``linked`` (N, N) bool, for training, validation and test.

    ``val`` and ``test`` are shares of the links; as many gaps are held out with them. Training draws its gaps from
    the pairs that are in neither of the two: which of those held out are links cannot be told by which are missing.

    Raises ConfigError for a split without a link, and for a graph with too few gaps.
    """
    random = seeding.generator(seed)
    links, gaps = (_shuffled(which.triu(1).nonzero(), random) for which in (linked, ~linked))
    sizes = [round(len(links) * val), round(len(links) * test)]
    sizes.append(len(links) - sum(sizes))
    if min(sizes) < 1 or len(gaps) <= sizes[0] + sizes[1]:
        raise ConfigError(
            f"data: {len(links)} links and {len(gaps)} gaps leave a split without any (val {val:g}, test {test:g})"
        )
    of_val, of_test, seen = links.split(sizes)
    not_val, not_test, _ = gaps.split([*sizes[:2], len(gaps) - sum(sizes[:2])])
    taken = torch.cat((links, not_val, not_test))
    return LinksAndGaps(seen, Gaps(len(linked), taken), seed), _either(of_val, not_val), _either(of_test, not_test)


def _shuffled(rows: Tensor, random: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=random)]


def _either(links: Tensor, gaps: Tensor) -> TensorSplit:
    target = torch.cat((torch.ones(len(links)), torch.zeros(len(gaps)))).long()
    return TensorSplit({"pairs": torch.cat((links, gaps))}, target)


def both_ways(links: Tensor) -> Tensor:
    """Links (E, 2) as edges in both directions, (2, 2 E), in order of source and target."""
    edges = torch.cat((links, links.flip(1)))
    return edges[(edges[:, 0] * (edges.max() + 1) + edges[:, 1]).argsort()].t().contiguous()
