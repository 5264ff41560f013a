"""Filtered ranks against a loop, on ties and faults, and what the task refuses."""

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


def looped(scores: Tensor, target: Tensor, known: Tensor) -> list[float]:
    found = []
    for row, right, answers in zip(scores.tolist(), target.tolist(), known.tolist(), strict=True):
        rivals = [score for k, score in enumerate(row) if k != right and k not in answers]
        found.append(1 + sum(s > row[right] for s in rivals) + 0.5 * sum(s == row[right] for s in rivals))
    return found


class Fixed(nn.Module):
    """Gives the scores it was made with."""

    def __init__(self, scores: Tensor):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, head: Tensor) -> Tensor:
        return self.scores[head]


@torch.no_grad()
def scored(scores: Tensor, target: Tensor, known: Tensor | None = None, size: int = 600) -> dict[str, float]:
    task, totals = Ranking(Fixed(scores), scores.shape[1], label_smoothing=0.0, candidates=None), ScoreAccumulator()
    for rows in torch.arange(len(target)).split(size):
        inputs = {"head": rows} | ({} if known is None else {"known": known[rows]})
        totals.update(task.score(Batch(inputs, target[rows], rows)))
    return task.metrics(totals.compute_totals())


def queries(rows: int = 700, candidates: int = 12) -> tuple[Tensor, Tensor, Tensor]:
    """Scores with many ties, the right one, and up to 5 known answers with the right one among them or not."""
    known = torch.rand(rows, candidates).argsort(1)[:, :5]
    known = known.masked_fill(torch.arange(5) >= torch.randint(6, (rows, 1)), IGNORE_INDEX)
    return torch.randint(4, (rows, candidates)).float(), torch.randint(candidates, (rows,)), known


def test_ranks_match_a_loop() -> None:
    scores, target, known = queries()
    assert filtered_ranks(scores, target, known).tolist() == looped(scores, target, known)


def test_scores_of_a_split_are_those_of_its_rows_however_it_is_cut() -> None:
    scores, target, known = queries()
    rank = torch.tensor(looped(scores, target, known))
    nll = -scores.log_softmax(1)[torch.arange(len(target)), target].mean()
    expected = {
        "mrr": float((1 / rank).mean()),
        **{f"hits_at_{k}": float((rank <= k).float().mean()) for k in (1, 3, 10)},
        "nll": float(nll),
    }
    assert expected.keys() == scored(scores, target, known).keys()
    for size in (600, 64):
        assert scored(scores, target, known, size) == pytest.approx(expected, rel=1e-6)
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


def test_the_right_one_on_top_scores_one() -> None:
    target = torch.arange(20)
    found = scored(100 * torch.eye(20), target)
    assert found == pytest.approx({"mrr": 1, "hits_at_1": 1, "hits_at_3": 1, "hits_at_10": 1, "nll": 0}, abs=1e-6)


def test_unrankable_data_is_refused() -> None:
    task = Ranking(Fixed(torch.zeros(3, 4)), 5, label_smoothing=0.0, candidates=None)
    for targets, words in (
        (None, "the val split has none"),
        (torch.rand(3), "the val split has float32"),
        (torch.tensor([0, 5, 1]), r"must be 0\.\.4; found 5 at row 1"),
        (torch.tensor([0, 1, IGNORE_INDEX]), "found -100 at row 2"),
    ):
        with pytest.raises(ConfigError, match=words):
            task.validate_targets(targets, "val")
    rows = torch.arange(3)
    with pytest.raises(ConfigError, match=r"scores \(3, 4\) do not rank 5 candidates for 3 rows"):
        task.loss(Batch({"head": rows}, rows, rows), "model")


def test_what_cannot_be_asked_for_some_of_all_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"task\.candidates: this model always scores all candidates"):
        Ranking(Fixed(torch.zeros(3, 4)), 4, label_smoothing=0.0, candidates=2)
    with pytest.raises(ConfigError, match=r"task\.label_smoothing: smooths over all candidates and needs"):
        Ranking(DistMult(4, 2, 6, "distmult", 1.0, 0.0), 4, label_smoothing=0.1, candidates=2)
    assert Ranking(Fixed(torch.zeros(3, 4)), 4, label_smoothing=0.1, candidates=4).candidates is None  # that is all
