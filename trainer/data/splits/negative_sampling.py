"""Negative sampling of node pairs for link prediction."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.device_copy import copy_to_device
from trainer.core.split import Split, TensorSplit
from trainer.utils.errors import DataError

DRAW_BITS = 24
"""Random bits of one uniform number; two numbers are combined into twice as many."""
HELD_OUT_EPOCH = -1
"""Epoch number for drawing the negatives of validation and test."""


class NonEdges:
    """Non-edges of a graph: the cells of an adjacency matrix that hold no edge.

    They are numbered consecutively and looked up by bisection, without a dense matrix.

    Args:
        excluded: Row-major indices of the excluded cells, (K,), ascending.
        num_rows: Number of rows.
        num_cols: Number of columns.
        first: Node of the first column.
    """

    def __init__(self, excluded: Tensor, num_rows: int, num_cols: int, first: int):
        self.shape = num_rows, num_cols
        self.first = first
        # Number of non-edges before each excluded cell.
        self.num_preceding = excluded - torch.arange(len(excluded), device=excluded.device)

    @classmethod
    def from_graph(cls, nodes: int, excluded: Tensor) -> NonEdges:
        """Create the unordered node pairs that are neither in ``excluded`` (K, 2) nor self-loops.

        Args:
            nodes: Number of nodes.
            excluded: Edges, (K, 2).
        """
        loops = torch.arange(nodes) * (nodes + 1)
        keys = torch.cat((excluded @ torch.tensor([nodes, 1]), excluded @ torch.tensor([1, nodes]), loops))
        return cls(keys.unique(), nodes, nodes, 0)

    @classmethod
    def from_bipartite_graph(cls, users: int, items: int, excluded: Tensor) -> NonEdges:
        """Create the user-item pairs that are not in ``excluded`` (K, 2); items are numbered after all users.

        Args:
            users: Number of users.
            items: Number of items.
            excluded: Edges from users to items, (K, 2).
        """
        return cls((excluded[:, 0] * items + excluded[:, 1] - users).unique(), users, items, users)

    def __len__(self) -> int:
        return self.shape[0] * self.shape[1] - len(self.num_preceding)

    def __getitem__(self, number: Tensor) -> Tensor:
        """Return the pairs (P, 2) of indices (P,) in 0..len - 1."""
        key, num_cols = number + torch.searchsorted(self.num_preceding, number, right=True), self.shape[1]
        return torch.stack((key // num_cols, key % num_cols + self.first), dim=1)

    def draw(self, index: Tensor, seed: int, epoch: int) -> Tensor:
        """Draw a uniform non-edge for each row of ``index``, (P, 2).

        Args:
            index: Rows, (P,), which determine the draws together with seed and epoch.
            seed: Random seed.
            epoch: Epoch.
        """
        high, low = (rng.draw_uniform(index, 2, seed, epoch) * 2**DRAW_BITS).long().unbind(1)
        return self[high * len(self) + (low * len(self) >> DRAW_BITS) >> DRAW_BITS]

    def to(self, device: torch.device) -> NonEdges:
        excluded = self.num_preceding + torch.arange(len(self.num_preceding), device=self.num_preceding.device)
        return NonEdges(excluded.to(device), *self.shape, self.first)


class LinkSplit(Split):
    """Links (E, 2) and as many negative pairs, resampled in every epoch.

    Args:
        links: Edges, (E, 2).
        non_edges: Pairs that negatives are drawn from.
        seed: Random seed.
    """

    def __init__(self, links: Tensor, non_edges: NonEdges, seed: int):
        self.links = links
        self.non_edges = non_edges
        self.seed = seed

    def __len__(self) -> int:
        return 2 * len(self.links)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        index = copy_to_device(index, self.links.device)
        linked = index < len(self.links)
        links = self.links[index.clamp(max=len(self.links) - 1)]
        pairs = torch.where(linked[:, None], links, self.non_edges.draw(index, self.seed, epoch))
        return Batch({"pairs": pairs}, linked.long(), index)

    def get_targets(self) -> Tensor:
        return (torch.arange(len(self)) < len(self.links)).long()

    def count_bytes(self) -> int:
        return self.links.nbytes + self.non_edges.num_preceding.nbytes

    def to(self, device: torch.device) -> LinkSplit:
        return LinkSplit(self.links.to(device), self.non_edges.to(device), self.seed)


def split_links(
    links: Tensor, make_non_edges: Callable[[Tensor], NonEdges], val: float, test: float, seed: int
) -> tuple[LinkSplit, TensorSplit, TensorSplit]:
    """Split links into training, validation and test, each with as many negative pairs.

    Training negatives are drawn from pairs in neither validation nor test, so that held-out links cannot be identified
    as pairs that never occur as negatives.

    Args:
        links: Unique links (L, 2), smaller node first.
        make_non_edges: Function that returns the non-edges of a graph with the given links.
        val: Fraction of the links for validation.
        test: Fraction of the links for test.
        seed: Random seed.

    Raises:
        DataError: A split has no links, or the graph has too few non-edges.
    """
    generator = rng.make_generator(seed)
    sizes = [round(len(links) * val), round(len(links) * test)]
    num_held_out, non_edges = sum(sizes), make_non_edges(links)
    if min(*sizes, len(links) - num_held_out) < 1 or len(non_edges) < 4 * num_held_out:
        raise DataError(
            f"{len(links)} links and {len(non_edges)} unlinked pairs are too few for the splits"
            f" (val {val:g}, test {test:g} of the links)"
        )
    val_links, test_links, train_links = _shuffle_rows(links, generator).split([*sizes, len(links) - num_held_out])
    negatives = non_edges.draw(torch.arange(8 * num_held_out), seed, HELD_OUT_EPOCH).sort(1).values.unique(dim=0)
    val_negatives, test_negatives = _shuffle_rows(negatives, generator)[:num_held_out].split(sizes)
    train_non_edges = make_non_edges(torch.cat((links, val_negatives, test_negatives)))
    return (
        LinkSplit(train_links, train_non_edges, seed),
        _label_pairs(val_links, val_negatives),
        _label_pairs(test_links, test_negatives),
    )


def _shuffle_rows(rows: Tensor, generator: torch.Generator) -> Tensor:
    return rows[torch.randperm(len(rows), generator=generator)]


def _label_pairs(links: Tensor, non_edges: Tensor) -> TensorSplit:
    target = torch.cat((torch.ones(len(links)), torch.zeros(len(non_edges)))).long()
    return TensorSplit({"pairs": torch.cat((links, non_edges))}, target)


def to_undirected(links: Tensor) -> Tensor:
    """Return links (E, 2) as edges in both directions, (2, 2 E), sorted by source and target."""
    return torch.cat((links, links.flip(1))).unique(dim=0).t().contiguous()
