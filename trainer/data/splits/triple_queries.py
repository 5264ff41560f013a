"""Link prediction queries (head, relation, ?) from triples, in both directions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import Split, TensorSplit
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.ragged import Ragged
from trainer.metrics.ranking import filtered_ranks_and_nll, ranking_metrics

CHUNK_ROWS = 64


class KnownTails(NamedTuple):
    """Known tails (sum of lengths,) of every distinct query ``key`` (Q,), ascending."""

    key: Tensor
    tails: Ragged


class TripleQuerySplit(Split):
    """Queries ``head``, ``relation`` -> tail, each with its ``known`` (B, K) tails for filtered ranking.

    Known tails are padded with ``IGNORE_INDEX`` to the longest list of a batch.

    Args:
        rows: Heads, relations and tails.
        query_index: Index of the query of each row in ``tails``, (N,).
        tails: Known tails of each query.
    """

    def __init__(self, rows: TensorSplit, query_index: Tensor, tails: Ragged):
        self.rows = rows
        self.query_index = query_index
        self.tails = tails

    def __len__(self) -> int:
        return len(self.rows)

    def get_targets(self) -> Tensor | None:
        return self.rows.get_targets()

    def count_bytes(self) -> int:
        return self.rows.count_bytes() + self.tails.values.nbytes

    def to(self, device: torch.device) -> TripleQuerySplit:
        tails = Ragged(self.tails.values.to(device), self.tails.lengths)
        return TripleQuerySplit(self.rows.to(device), self.query_index, tails)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        batch = self.rows.batch(index, epoch)
        tails = self.tails.select_rows(self.query_index[index.cpu()])
        mask = torch.arange(int(tails.lengths.max())) < tails.lengths[:, None]
        known = torch.full(mask.shape, IGNORE_INDEX, device=tails.values.device)
        known[mask.to(known.device)] = tails.values
        batch.inputs["known"] = known
        return batch


def set_splits(data: Dataset, parts: Sequence[Tensor], entities: int, relations: int) -> None:
    """Set splits and info from triples (n, 3) of head, relation and tail ids of train, val and test.

    Head queries of relation r become tail queries of the reciprocal relation r + R, so there are 2 R relations. The
    shared graph has the training triples in both directions.

    Args:
        data: Data set that is set.
        parts: Triples of each split, (n, 3).
        entities: Number of entities.
        relations: Number of relations.

    References:
        Lacroix et al. 2018, Canonical Tensor Decomposition for Knowledge Base Completion (reciprocal relations).
    """
    queries = [torch.cat((part, part[:, [2, 1, 0]] + torch.tensor([0, relations, 0]))) for part in parts]
    known = _collect_known_tails(torch.cat(queries), 2 * relations)
    edges = queries[0].t().contiguous()
    graph = {"edge_index": edges[[0, 2]], "edge_type": edges[1]}
    data.train, data.val, data.test = (_make_split(part, known, 2 * relations, graph) for part in queries)
    data.info = DatasetInfo(
        sizes={
            "num_entities": entities,
            "num_relations": 2 * relations,
            "num_classes": entities,
            "out_features": entities,
        },
        baseline=_tail_frequency_scores(queries[0], data.test, entities, 2 * relations),
    )


def _make_split(triples: Tensor, known: KnownTails, relations: int, graph: dict[str, Tensor]) -> SplitWithSharedInputs:
    head, relation, tail = triples.t().contiguous()
    query_index = torch.searchsorted(known.key, head * relations + relation)
    return SplitWithSharedInputs(
        TripleQuerySplit(TensorSplit({"head": head, "relation": relation}, tail), query_index, known.tails), graph
    )


def _collect_known_tails(triples: Tensor, relations: int) -> KnownTails:
    distinct = triples.unique(dim=0)  # sorted by head, relation and tail
    key, lengths = (distinct[:, 0] * relations + distinct[:, 1]).unique_consecutive(return_counts=True)
    return KnownTails(key, Ragged(distinct[:, 2].contiguous(), lengths))


def _tail_frequency_scores(train: Tensor, test: Split, entities: int, relations: int) -> dict[str, float]:
    """Compute the scores of ranking entities by their frequency as tail of the relation in training."""
    counts = (train[:, 1] * entities + train[:, 2]).bincount(minlength=relations * entities).view(relations, entities)
    log_frequency = ((counts + 1).double() / (counts + 1).sum(1, keepdim=True)).log().float()
    results = []
    for batch in test.iter_batches(torch.arange(len(test)).split(CHUNK_ROWS), 0):
        target = batch.require_target()
        results.append(filtered_ranks_and_nll(log_frequency[batch.inputs["relation"]], target, batch.inputs["known"]))
    ranks, nll = (torch.cat(parts) for parts in zip(*results, strict=True))
    return ranking_metrics(ranks) | {"nll": float(nll.mean())}
