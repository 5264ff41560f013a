"""Pairs of nodes, some linked and as many not: drawn anew each epoch, or held out."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset import Split, TensorSplit
from trainer.utils.errors import ConfigError

DRAW_BITS = 24
"""Of one uniform number; two of them are one number of twice as many."""
HELD_OUT_EPOCH = -1
"""The epoch that gaps are held out in."""


class NonEdges:
    """The cells of a table whose rows and columns are nodes, but for those that are taken.

    They are numbered in turn, and the one of a number is found by bisection: nothing of the table's size is held.

    taken: (K,) numbers of cells, row after row, ascending. first: the node that the first column stands for.
    """

    def __init__(self, taken: Tensor, rows: int, cols: int, first: int):
        self.shape = rows, cols
        self.first = first
        self.before = taken - torch.arange(len(taken), device=taken.device)  # gaps before each cell that is none

    @classmethod
    def from_graph(cls, nodes: int, taken: Tensor) -> NonEdges:
        """Pairs of ``nodes`` that are not among those taken (K, 2), in either order, and no loops."""
        loops = torch.arange(nodes) * (nodes + 1)
        keys = torch.cat((taken @ torch.tensor([nodes, 1]), taken @ torch.tensor([1, nodes]), loops))
        return cls(keys.unique(), nodes, nodes, 0)

    @classmethod
    def from_bipartite_graph(cls, users: int, items: int, taken: Tensor) -> NonEdges:
        """Pairs of a user and an item, which is numbered after all users, that are not among those taken (K, 2)."""
        return cls((taken[:, 0] * items + taken[:, 1] - users).unique(), users, items, users)

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1] - len(self.before)

    def __getitem__(self, number: Tensor) -> Tensor:
        """Numbers (P,) in 0..len - 1 as pairs (P, 2)."""
        key, cols = number + torch.searchsorted(self.before, number, right=True), self.shape[1]
        return torch.stack((key // cols, key % cols + self.first), dim=1)

    def draw(self, index: Tensor, seed: int, epoch: int) -> Tensor:
        """A gap for each row of ``index``, (P, 2), all equally likely."""
        high, low = (rng.draw_uniform(index, 2, seed, epoch) * 2**DRAW_BITS).long().unbind(1)
        return self[high * len(self) + (low * len(self) >> DRAW_BITS) >> DRAW_BITS]

    def to(self, device: torch.device) -> NonEdges:
        taken = self.before + torch.arange(len(self.before), device=self.before.device)
        return NonEdges(taken.to(device), *self.shape, self.first)


class LinkSplit(Split):
    """Links (E, 2), and as many gaps that are other ones in every epoch."""

    def __init__(self, links: Tensor, gaps: NonEdges, seed: int):
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

    def get_targets(self) -> Tensor:
        return (torch.arange(len(self)) < len(self.links)).long()

    def count_bytes(self) -> int:
        return self.links.nbytes + self.gaps.before.nbytes

    def to(self, device: torch.device) -> LinkSplit:
        return LinkSplit(self.links.to(device), self.gaps.to(device), self.seed)


def split_links(
    links: Tensor, gaps_but: Callable[[Tensor], NonEdges], val: float, test: float, seed: int
) -> tuple[LinkSplit, TensorSplit, TensorSplit]:
    """Links (L, 2), each once and the smaller node first, for training, validation and test.

    ``val`` and ``test`` are shares of the links; as many gaps are held out with them. Training draws its gaps from the
    pairs that are in neither of the two: which of those held out are links cannot be told by which are missing.
    ``gaps_but`` gives the gaps of a graph with these links.

    Raises ConfigError for a split without a link, and for a graph with too few gaps.
    """
    random = rng.make_generator(seed)
    sizes = [round(len(links) * val), round(len(links) * test)]
    held, gaps = sum(sizes), gaps_but(links)
    if min(*sizes, len(links) - held) < 1 or len(gaps) < 4 * held:
        raise ConfigError(
            f"data: {len(links)} links and {len(gaps)} pairs without one leave too few for a split"
            f" (val {val:g}, test {test:g} of the links)"
        )
    of_val, of_test, seen = _shuffle_rows(links, random).split([*sizes, len(links) - held])
    drawn = gaps.draw(torch.arange(8 * held), seed, HELD_OUT_EPOCH).sort(1).values.unique(dim=0)
    not_val, not_test = _shuffle_rows(drawn, random)[:held].split(sizes)
    rest = gaps_but(torch.cat((links, not_val, not_test)))
    return LinkSplit(seen, rest, seed), _label_pairs(of_val, not_val), _label_pairs(of_test, not_test)


def _shuffle_rows(rows: Tensor, random: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=random)]


def _label_pairs(links: Tensor, gaps: Tensor) -> TensorSplit:
    target = torch.cat((torch.ones(len(links)), torch.zeros(len(gaps)))).long()
    return TensorSplit({"pairs": torch.cat((links, gaps))}, target)


def to_undirected(links: Tensor) -> Tensor:
    """Links (E, 2) as edges in both directions, (2, 2 E), in order of source and target."""
    return torch.cat((links, links.flip(1))).unique(dim=0).t().contiguous()
