"""Which of all entities answers a query, scored by where the right one ranks."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.batch import Batch, RowValues, Score
from trainer.core.types import PluginMetric, PositiveInt, Probability
from trainer.metrics.ranking import filtered_ranks_and_nll, ranking_metrics
from trainer.tasks.base.scored_task import ScoredTask
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_dtype


class Ranking(ScoredTask):
    """Cross-entropy over all C candidates (Lacroix et al. 2018). Ranks are filtered (Bordes et al. 2013): of the right
    answers to a query, which a batch brings as ``known`` (B, K), only the row's own competes.

    Where C is larger than ``candidates``, a step takes the right answers and so many random ones, the same for all its
    rows: each then stands for C / candidates of them (sampled softmax, Jean et al. 2015). Scores are of all C.

    Raises ConfigError where that cannot be.
    """

    shapes = "(B, C) -> (B)"

    optional_scores = ("mrr", "hits_at_1", "hits_at_3", "hits_at_10", "nll")

    def __init__(
        self,
        model: nn.Module,
        num_classes: PositiveInt,
        label_smoothing: Probability = 0.0,
        candidates: PositiveInt | None = 4096,
        scores: Sequence[
            Literal["mrr", "hits_at_1", "hits_at_3", "hits_at_10", "nll"] | PluginMetric
        ] = optional_scores,
    ):
        super().__init__(model, scores)
        if candidates is not None and candidates < num_classes:
            _validate_candidates(model, label_smoothing)
        else:
            candidates = None
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.candidates = candidates

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None or targets.dtype != torch.long:
            found = "none" if targets is None else format_dtype(targets.dtype)
            raise ConfigError(f"task: ranking needs the number of the right candidate; the {split} split has {found}")
        wrong = (targets < 0) | (targets >= self.num_classes)
        if wrong.any():
            at = int(wrong.nonzero()[0, 0])
            raise ConfigError(
                f"data: {split} targets must be 0..{self.num_classes - 1}; found {targets[at].tolist()} at row {at}"
            )

    def score_candidates(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The score of every candidate, (B, C), and the right one (B,)."""
        scores, target = self.forward_batch(batch), batch.require_target()
        if scores.shape != (len(target), self.num_classes):
            raise ConfigError(
                f"model: scores {tuple(scores.shape)} do not rank {self.num_classes} candidates for {len(target)} rows"
            )
        return scores, target

    def loss(self, batch: Batch, player: str) -> Tensor:
        scores, target = (
            self.score_candidates(batch)
            if self.candidates is None
            else self.score_sampled_candidates(batch, self.candidates)
        )
        return F.cross_entropy(scores, target, label_smoothing=self.label_smoothing)

    def score_sampled_candidates(self, batch: Batch, count: int) -> tuple[Tensor, Tensor]:
        """The right score in front of those of ``count`` random candidates, (B, 1 + count), and (B,) zeros.

        Each of these stands for C / count of all, so that the sum of exponentials is right on average; where one
        happens to be the right one, it does not count twice.
        """
        target = batch.require_target()
        drawn = torch.randint(self.num_classes, (count,), device=target.device)
        scores = self.model(**self.select_model_inputs(batch), candidates=torch.cat((target, drawn)))
        own, others = scores.split((len(target), count), 1)
        others = (others + math.log(self.num_classes / count)).masked_fill_(drawn == target[:, None], -math.inf)
        return torch.cat((own.diagonal()[:, None], others), 1), torch.zeros_like(target)

    def score(self, batch: Batch) -> Score:
        scores, target = self.score_candidates(batch)
        known = batch.inputs.get("known", target[:, None])
        rank, nll = filtered_ranks_and_nll(scores, target, known)
        return {"rank": RowValues(rank), "nll": nll.sum(), **self.collect_rows(scores, target)}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        rank = totals["rank"]
        return self.select_scores(ranking_metrics(rank) | {"nll": float(totals["nll"]) / len(rank)}, totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return scores.get("nll")


def _validate_candidates(model: nn.Module, label_smoothing: float) -> None:
    if "candidates" not in inspect.signature(model.forward).parameters:
        raise ConfigError("task.candidates: this model scores all of them at once; task.candidates=null lets it")
    if label_smoothing:
        raise ConfigError("task.label_smoothing: spread over all candidates, so it needs task.candidates=null")
