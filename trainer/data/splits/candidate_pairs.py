"""Pairs of nodes to predict links for: given ones, or all that are not linked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from trainer.core.prediction_columns import Column
from trainer.core.split import Split, TensorSplit
from trainer.data.splits.graph_batches import SplitWithSharedInputs

BLOCK_CELLS = 1 << 20
"""Maximum number of pairs that are considered at once, unless a node has more."""


class PairSplit(SplitWithSharedInputs):
    """Pairs of nodes of a graph.

    Args:
        pairs: Pairs (P, 2).
        target: Whether they are linked (P,); None if this is unknown.
        graph: Inputs of the graph.
        describe: Function from pairs (P, 2) to the columns that identify them.
        top_k: Number of most probable pairs that are selected; None for all.
        group: Group (P,) of each pair, from each of which pairs are selected; None for a single group.
    """

    def __init__(
        self,
        pairs: Tensor,
        target: Tensor | None,
        graph: Mapping[str, Tensor],
        describe: Callable[[Tensor], dict[str, Column]],
        top_k: int | None = None,
        group: Tensor | None = None,
    ):
        super().__init__(TensorSplit({"pairs": pairs}, target), graph)
        self.pairs = pairs
        self.describe = describe
        self.top_k = top_k
        self.group = group

    def get_output_columns(self, first: int) -> dict[str, Column]:
        return self.describe(self.pairs)

    def get_groups(self) -> Tensor | None:
        return self.group


def get_graph_inputs(split: Split) -> dict[str, Tensor]:
    """Return the inputs of the graph that all pairs of a split share."""
    batch = split.to_model_inputs(split.batch(torch.zeros(1, dtype=torch.long), 0))
    return {name: value for name, value in batch.inputs.items() if name != "pairs"}


def iter_candidates(
    first: Tensor, second: range, edge_index: Tensor, *, is_ordered: bool
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield blocks of the pairs (P, 2) that are not linked, and for each pair the index (P,) of its first node.

    Args:
        first: First nodes (K,).
        second: Second nodes.
        edge_index: Edges (2, E) of the graph, in both directions.
        is_ordered: Only pairs whose first node is the smaller one, for an undirected graph; otherwise all but loops.
    """
    edge_index = edge_index.cpu()
    seconds = torch.arange(second.start, second.stop)
    in_range = (edge_index[1] >= second.start) & (edge_index[1] < second.stop)
    edges = edge_index[:, in_range]
    edges = edges[:, edges[0].argsort(stable=True)]
    for part in torch.arange(len(first)).split(max(1, BLOCK_CELLS // max(1, len(second)))):
        nodes = first[part]
        is_candidate = seconds > nodes[:, None] if is_ordered else seconds != nodes[:, None]
        starts, ends = (torch.searchsorted(edges[0].contiguous(), nodes, right=right) for right in (False, True))
        for row, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            is_candidate[row, edges[1, start:end] - second.start] = False
        row_index, column_index = is_candidate.nonzero(as_tuple=True)
        if len(row_index):
            yield torch.stack((nodes[row_index], seconds[column_index]), 1), part[row_index]
