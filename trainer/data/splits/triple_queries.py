"""Facts (head, relation, tail) as questions for the tail, asked from both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset import Dataset, DatasetInfo, Split, TensorSplit
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.data.splits.ragged import Ragged
from trainer.metrics import metrics

CHUNK_ROWS = 64


class KnownTails(NamedTuple):
    """The tails (sum of lengths,) of every different question ``key`` (Q,), ascending."""

    key: Tensor
    tails: Ragged


class TripleQuerySplit(Split):
    """Rows ``head``, ``relation`` -> tail, each with the ``known`` (B, K) right answers to its question.

    rows: TensorSplit of head and relation. question: (N,) the number of each row's question in ``tails``. A batch is
    as wide as its longest list; shorter ones are filled up with IGNORE.
    """

    def __init__(self, rows: TensorSplit, question: Tensor, tails: Ragged):
        self.rows = rows
        self.question = question
        self.tails = tails

    def __len__(self) -> int:
        return len(self.rows)

    def get_targets(self) -> Tensor | None:
        return self.rows.get_targets()

    def count_bytes(self) -> int:
        return self.rows.count_bytes() + self.tails.values.nbytes

    def to(self, device: torch.device) -> TripleQuerySplit:
        tails = Ragged(self.tails.values.to(device), self.tails.lengths)
        return TripleQuerySplit(self.rows.to(device), self.question, tails)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        batch = self.rows.batch(index, epoch)
        tails = self.tails.select_rows(self.question[index.cpu()])
        filled = torch.arange(int(tails.lengths.max())) < tails.lengths[:, None]
        known = torch.full(filled.shape, IGNORE_INDEX, device=tails.values.device)
        known[filled.to(known.device)] = tails.values
        batch.inputs["known"] = known
        return batch


def set_splits(data: Dataset, parts: Sequence[Tensor], entities: int, relations: int) -> None:
    """Splits and facts from triples (n, 3) of train, val and test: head, relation and tail, all numbered from 0.

    Relation r asked from the tail is relation r + R (reciprocal relations, Lacroix et al. 2018), so there are 2 R of
    them. The graph beside the rows is that of the training triples, both ways.
    """
    asked = [torch.cat((part, part[:, [2, 1, 0]] + torch.tensor([0, relations, 0]))) for part in parts]
    known = _collect_known_tails(torch.cat(asked), 2 * relations)
    edges = asked[0].t().contiguous()
    graph = {"edge_index": edges[[0, 2]], "edge_type": edges[1]}
    data.train, data.val, data.test = (_make_split(part, known, 2 * relations, graph) for part in asked)
    data.info = DatasetInfo(
        sizes={
            "num_entities": entities,
            "num_relations": 2 * relations,
            "num_classes": entities,
            "out_features": entities,
        },
        baseline=_tail_frequency_scores(asked[0], data.test, entities, 2 * relations),
    )


def _make_split(triples: Tensor, known: KnownTails, relations: int, graph: dict[str, Tensor]) -> SplitWithSharedInputs:
    head, relation, tail = triples.t().contiguous()
    question = torch.searchsorted(known.key, head * relations + relation)
    return SplitWithSharedInputs(
        TripleQuerySplit(TensorSplit({"head": head, "relation": relation}, tail), question, known.tails), graph
    )


def _collect_known_tails(triples: Tensor, relations: int) -> KnownTails:
    different = triples.unique(dim=0)  # in order of head, relation and tail
    key, lengths = (different[:, 0] * relations + different[:, 1]).unique_consecutive(return_counts=True)
    return KnownTails(key, Ragged(different[:, 2].contiguous(), lengths))


def _tail_frequency_scores(train: Tensor, test: Split, entities: int, relations: int) -> dict[str, float]:
    """Scores of ranking the entities by how often they are the tail of the relation in training, whatever the head."""
    seen = (train[:, 1] * entities + train[:, 2]).bincount(minlength=relations * entities).view(relations, entities)
    log_share = ((seen + 1).double() / (seen + 1).sum(1, keepdim=True)).log().float()
    found = []
    for batch in test.iter_batches(torch.arange(len(test)).split(CHUNK_ROWS), 0):
        found.append(
            metrics.filtered_ranks_and_nll(
                log_share[batch.inputs["relation"]], batch.require_target(), batch.inputs["known"]
            )
        )
    ranks, nll = (torch.cat(parts) for parts in zip(*found, strict=True))
    return metrics.ranking_metrics(ranks) | {"nll": float(nll.mean())}
