"""Shards: the parts of a batch, which do not depend on the number of processes that compute them.

What is random in a step, or summed over a batch, belongs to a shard. The sums of shards are added in a fixed binary
tree, so that any number of processes which divides the number of shards gives the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor

from trainer.core.batch import Batch

MIN_ROWS = 2
"""Minimum rows of a part, because batch norm cannot train on one row; a batch of one row has one part."""


class Node(NamedTuple):
    """Node of the tree: the consecutive shards from ``first`` to before ``last``."""

    first: int
    last: int

    def split(self) -> tuple[Node, Node]:
        """Return both children; the left one has the largest power of two of the shards that leaves some."""
        size = self.last - self.first
        middle = self.first + (1 << (size - 1).bit_length() - 1)
        return Node(self.first, middle), Node(middle, self.last)


def sum_tree(node: Node, leaf: Callable[[int], Tensor], sums: Mapping[Node, Tensor]) -> Tensor:
    """Return the sum over the shards of a node, added in the order of the tree, in place of values and known sums.

    Args:
        node: The node.
        leaf: Value of a shard; shards are computed in ascending order.
        sums: Sums of nodes that are known.
    """
    if node in sums:
        return sums[node]
    if node.last - node.first == 1:
        return leaf(node.first)
    left, right = node.split()
    total = sum_tree(left, leaf, sums)
    return total.add_(sum_tree(right, leaf, sums))


def find_largest_nodes(node: Node, shards: range) -> list[Node]:
    """Return the largest nodes, at or below a node, that consist of given shards only.

    Args:
        node: The node.
        shards: Consecutive shards.

    Returns:
        The nodes in ascending order.
    """
    if shards.start <= node.first and node.last <= shards.stop:
        return [node]
    if node.last <= shards.start or shards.stop <= node.first:
        return []
    return [found for child in node.split() for found in find_largest_nodes(child, shards)]


def split_rows(index: Tensor, count: int) -> list[Tensor]:
    """Split the rows of a batch into nearly equal parts of at least ``MIN_ROWS`` rows; the last ones may be empty.

    Args:
        index: Row numbers (B,).
        count: Number of parts.
    """
    num_parts = max(1, min(count, len(index) // MIN_ROWS))
    return [*index.tensor_split(num_parts), *[index[:0]] * (count - num_parts)]


@dataclass(frozen=True)
class ShardedBatch:
    """Batch of which a process holds the parts of its own shards.

    Attributes:
        index: Row numbers (B,) of the whole batch.
        parts: Rows of each own shard, by shard; those without rows are left out.
        num_parts: Number of shards of the whole batch that have rows.
    """

    index: Tensor
    parts: Mapping[int, Batch]
    num_parts: int

    def __len__(self) -> int:
        return self.index.numel()
