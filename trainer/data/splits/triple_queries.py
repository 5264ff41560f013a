"""Link prediction queries (head, relation, ?) from triples, in both directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.device_copy import copy_to_device
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
        rows: Heads, relations and tails; without tails the answers are unknown.
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
        # Positions instead of the mask, whose number of entries a device would have to tell the host.
        known.view(-1)[copy_to_device(mask.view(-1).nonzero()[:, 0], known.device)] = tails.values
        batch.inputs["known"] = known
        return batch


class QuerySplit(SplitWithSharedInputs):
    """Queries with the graph of training triples.

    Args:
        subject: Given entity (Q,): the head of a tail query, the tail of a head query.
        relation: Relation (Q,), that of a head query plus R.
        answer: Entity (Q,) that answers each query; None if they are unknown.
        known: Known tails.
        num_relations: Number of relations in both directions, 2 R.
        graph: Inputs of the graph.
    """

    def __init__(
        self,
        subject: Tensor,
        relation: Tensor,
        answer: Tensor | None,
        known: KnownTails,
        num_relations: int,
        graph: Mapping[str, Tensor],
    ):
        key = subject * num_relations + relation
        query_index = torch.searchsorted(known.key, key).clamp(max=len(known.key) - 1)
        # A query without known tails refers to an empty list after all others.
        query_index = query_index.where(known.key[query_index] == key, len(known.key))
        tails = Ragged(known.tails.values, F.pad(known.tails.lengths, (0, 1)))
        rows = TensorSplit({"head": subject, "relation": relation}, answer)
        super().__init__(TripleQuerySplit(rows, query_index, tails), graph)
        self.subject, self.relation, self.answer = subject, relation, answer

    @classmethod
    def from_triples(
        cls, triples: Tensor, known: KnownTails, num_relations: int, graph: Mapping[str, Tensor]
    ) -> QuerySplit:
        """Create the tail queries of triples (n, 3), followed by their head queries.

        Args:
            triples: Heads, relations and tails.
            known: Known tails.
            num_relations: Number of relations in both directions, 2 R.
            graph: Inputs of the graph.
        """
        subject, relation, answer = add_head_queries(triples, num_relations).t().contiguous()
        return cls(subject, relation, answer, known, num_relations, graph)


def add_head_queries(triples: Tensor, num_relations: int) -> Tensor:
    """Return triples (n, 3), followed by those (n, 3) of the reciprocal relations.

    Args:
        triples: Heads, relations and tails.
        num_relations: Number of relations in both directions, 2 R.
    """
    return torch.cat((triples, triples[:, [2, 1, 0]] + torch.tensor([0, num_relations // 2, 0])))


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
    triples = torch.cat(list(parts))
    if data.fitted is not None and not data.fitted.is_stored:
        data.fitted.get_or_fit("triples", triples.int)
    known = collect_known_tails(triples, 2 * relations)
    train_queries = add_head_queries(parts[0], 2 * relations)
    edges = train_queries.t().contiguous()
    graph = {"edge_index": edges[[0, 2]], "edge_type": edges[1]}
    data.train, data.val, data.test = (QuerySplit.from_triples(part, known, 2 * relations, graph) for part in parts)
    data.info = DatasetInfo(
        sizes={
            "num_entities": entities,
            "num_relations": 2 * relations,
            "num_classes": entities,
            "out_features": entities,
        },
        baseline=_tail_frequency_scores(train_queries, data.test, entities, 2 * relations),
    )


def collect_known_tails(triples: Tensor, num_relations: int) -> KnownTails:
    """Collect the known tails of all queries.

    Args:
        triples: Known triples (n, 3).
        num_relations: Number of relations in both directions, 2 R.
    """
    distinct = add_head_queries(triples.long(), num_relations).unique(dim=0)  # sorted by head, relation and tail
    key, lengths = (distinct[:, 0] * num_relations + distinct[:, 1]).unique_consecutive(return_counts=True)
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
