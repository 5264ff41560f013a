"""Sum of the vectors of all shards over the processes, in the fixed binary tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from trainer.engine.process_group import ProcessGroup
from trainer.engine.shards import Node, find_largest_nodes, sum_tree

MAX_GATHERED_BYTES = 1 << 22
"""Bytes up to which each process receives the vectors of all others: fewer exchanges, but more bytes and memory."""


class ShardSum:
    """Sums vectors of shards in the fixed tree, so that no bit depends on the number of processes.

    Long vectors are summed in chunks: each process receives and adds one chunk of all vectors, and the sums are
    gathered. It then needs the memory of two vectors, not of one for each process.

    Args:
        process_group: The processes.
        num_shards: Number of shards, a multiple of the number of processes.
    """

    def __init__(self, process_group: ProcessGroup, num_shards: int):
        assert num_shards % process_group.size == 0, "checked with the configuration"
        self.process_group = process_group
        self.root = Node(0, num_shards)
        per_process = num_shards // process_group.size
        shards_by_rank = [range(first, first + per_process) for first in range(0, num_shards, per_process)]
        self.shards = shards_by_rank[process_group.rank]
        self._nodes_by_rank = [find_largest_nodes(self.root, shards) for shards in shards_by_rank]
        self._max_nodes = max(map(len, self._nodes_by_rank))

    def sum_shards(self, compute_parts: Callable[[int], Sequence[Tensor]]) -> Tensor:
        """Return the sum (P,) over all shards.

        Args:
            compute_parts: Computes the vector of a shard, in parts that are concatenated; it is called for each shard
                of this process, in ascending order, and may reuse the memory of the parts.
        """
        size, length = self.process_group.size, 0

        def compute_vector(shard: int) -> Tensor:
            nonlocal length
            parts = compute_parts(shard)
            length = sum(map(len, parts))
            return torch.cat([*parts, parts[0].new_zeros(-length % size)])

        own_sums = [sum_tree(node, compute_vector, {}) for node in self._nodes_by_rank[self.process_group.rank]]
        return self._sum_processes(own_sums)[:length]

    def _sum_processes(self, own_sums: list[Tensor]) -> Tensor:
        """Return the sum (P,) over all shards, given those of the largest nodes of this process, which are removed."""
        size = self.process_group.size
        if size == 1:
            return own_sums[0]
        own_sums += [torch.zeros_like(own_sums[0]) for _ in range(self._max_nodes - len(own_sums))]
        values = own_sums[0][None] if len(own_sums) == 1 else torch.stack(own_sums)
        own_sums.clear()
        if size * values.nbytes <= MAX_GATHERED_BYTES:
            return self._sum_nodes(self.process_group.all_gather(values))
        chunks = values.view(len(values), size, -1).transpose(0, 1)  # (W, N, P / W)
        del values
        own_chunk = self._sum_nodes(self.process_group.all_to_all(chunks))
        del chunks
        return self.process_group.all_gather(own_chunk).view(-1)

    def _sum_nodes(self, values_by_rank: Tensor) -> Tensor:
        """Return the sum (P,) over all shards, given those of the largest nodes of each process (W, N, P)."""
        sums = {
            node: values
            for nodes, values_by_node in zip(self._nodes_by_rank, values_by_rank, strict=True)
            for node, values in zip(nodes, values_by_node, strict=False)
        }
        return sum_tree(self.root, _raise_missing_shard, sums)


def _raise_missing_shard(shard: int) -> Tensor:
    raise AssertionError(f"no process has computed shard {shard}")
