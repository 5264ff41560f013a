"""Filtered ranks against a loop, ties, and rejected inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.core.batch import IGNORE_INDEX, Batch, ScoreAccumulator
from trainer.metrics.ranking import filtered_ranks, ranking_metrics
from trainer.metrics.registry import find_builtin_metric
from trainer.models.graph.kg_embedding import DistMult
from trainer.tasks.ranking import Ranking
from trainer.utils.errors import ConfigError


def reference_ranks(scores: Tensor, target: Tensor, known: Tensor) -> list[float]:
    ranks = []
    for row, correct, known_candidates in zip(scores.tolist(), target.tolist(), known.tolist(), strict=True):
        rivals = [score for k, score in enumerate(row) if k != correct and k not in known_candidates]
        ranks.append(1 + sum(s > row[correct] for s in rivals) + 0.5 * sum(s == row[correct] for s in rivals))
    return ranks


class FixedScores(nn.Module):
    """Model that returns fixed scores."""

    def __init__(self, scores: Tensor):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, head: Tensor) -> Tensor:
        return self.scores[head]


@torch.no_grad()
def compute_metrics(scores: Tensor, target: Tensor, known: Tensor | None = None, size: int = 600) -> dict[str, float]:
    task, totals = (
        Ranking(FixedScores(scores), scores.shape[1], label_smoothing=0.0, candidates=None),
        ScoreAccumulator(),
    )
    for rows in torch.arange(len(target)).split(size):
        inputs = {"head": rows} | ({} if known is None else {"known": known[rows]})
        totals.update(task.score(Batch(inputs, target[rows], rows)))
    return task.metrics(totals.compute_totals())


def random_queries(rows: int = 700, candidates: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Return scores with many ties, targets, and up to 5 known answers that may include the target."""
    known = torch.rand(rows, candidates).argsort(1)[:, :5]
    known = known.masked_fill(torch.arange(5) >= torch.randint(6, (rows, 1)), IGNORE_INDEX)
    return torch.randint(4, (rows, candidates)).float(), torch.randint(candidates, (rows,)), known


def test_ranks_match_a_loop() -> None:
    scores, target, known = random_queries()
    assert filtered_ranks(scores, target, known).tolist() == reference_ranks(scores, target, known)


def test_metrics_are_independent_of_batch_size() -> None:
    scores, target, known = random_queries()
    rank = torch.tensor(reference_ranks(scores, target, known))
    nll = -scores.log_softmax(1)[torch.arange(len(target)), target].mean()
    expected = {
        "mrr": float((1 / rank).mean()),
        **{f"hits_at_{k}": float((rank <= k).float().mean()) for k in (1, 3, 10)},
        "nll": float(nll),
    }
    assert expected.keys() == compute_metrics(scores, target, known).keys()
    for size in (600, 64):
        assert compute_metrics(scores, target, known, size) == pytest.approx(expected, rel=1e-6)
    directions = {name: metric.higher_is_better for name in expected if (metric := find_builtin_metric(name))}
    assert directions == dict.fromkeys(expected, True) | {"nll": False}


def test_known_answers_are_filtered_from_ranks_and_padding_is_ignored() -> None:
    scores = torch.tensor([[9.0, 5.0, 7.0, 3.0]])
    target = torch.tensor([1])
    for known, rank in (([], 3), ([1, IGNORE_INDEX], 3), ([0, 1], 2), ([2, 0], 1), ([IGNORE_INDEX, 3], 3)):
        assert filtered_ranks(scores, target, torch.tensor([known], dtype=torch.long)).tolist() == [rank]


@pytest.mark.parametrize(("fill", "rank"), [(0.0, 25.5), (-torch.inf, 25.5), (torch.nan, 50.5)])
def test_a_constant_model_is_not_ranked_first(fill: float, rank: float) -> None:
    scores = torch.full((20, 50), fill)
    target = torch.arange(20)
    assert filtered_ranks(scores, target, target[:, None]).tolist() == [rank] * 20
    assert ranking_metrics(filtered_ranks(scores, target, target[:, None]))["hits_at_10"] == 0


def test_perfect_scores_have_best_metrics() -> None:
    target = torch.arange(20)
    metrics = compute_metrics(100 * torch.eye(20), target)
    assert metrics == pytest.approx({"mrr": 1, "hits_at_1": 1, "hits_at_3": 1, "hits_at_10": 1, "nll": 0}, abs=1e-6)


def test_invalid_targets_and_scores_raise() -> None:
    task = Ranking(FixedScores(torch.zeros(3, 4)), 5, label_smoothing=0.0, candidates=None)
    for targets, message in (
        (None, "the val split has none"),
        (torch.rand(3), "the val split has float32"),
        (torch.tensor([0, 5, 1]), r"must be 0\.\.4; found 5 at row 1"),
        (torch.tensor([0, 1, IGNORE_INDEX]), "found -100 at row 2"),
    ):
        with pytest.raises(ConfigError, match=message):
            task.validate_targets(targets, "val")
    rows = torch.arange(3)
    with pytest.raises(ConfigError, match=r"scores \(3, 4\) do not rank 5 candidates for 3 rows"):
        task.loss(Batch({"head": rows}, rows, rows), "model")


def test_unsupported_candidate_options_raise() -> None:
    with pytest.raises(ConfigError, match=r"task\.candidates: this model always scores all candidates"):
        Ranking(FixedScores(torch.zeros(3, 4)), 4, label_smoothing=0.0, candidates=2)
    with pytest.raises(ConfigError, match=r"task\.label_smoothing: smooths over all candidates and needs"):
        Ranking(DistMult(4, 2, 6, "distmult", 1.0, 0.0), 4, label_smoothing=0.1, candidates=2)
    assert (
        Ranking(FixedScores(torch.zeros(3, 4)), 4, label_smoothing=0.1, candidates=4).candidates is None
    )  # all candidates
