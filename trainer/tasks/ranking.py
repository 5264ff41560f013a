"""Ranking of candidates, such as link prediction in knowledge graphs."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.batch import Batch, RowValues, Score
from trainer.core.prediction import Prediction
from trainer.core.types import PluginMetric, PositiveInt, Probability
from trainer.metrics.ranking import filtered_ranks_and_nll, ranking_metrics
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.evaluation.probability_average import average_logits
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_dtype

DEFAULT_CANDIDATES = 10
"""Number of candidates that are predicted for a row without an answer."""


class Ranking(ScoredTask):
    """Ranking of C candidates by cross-entropy, evaluated by filtered ranks.

    The loss is ``-log softmax(scores)[target]`` over all candidates (1-to-all scoring), or over the target and random
    negatives (sampled softmax). Filtered ranks ignore the other correct answers of a query, the input ``known`` (B, K).

    Args:
        model: Model with scores (B, C); for sampled softmax its ``forward`` takes ``candidates``.
        num_classes: Number of candidates C.
        label_smoothing: Probability mass that is spread uniformly over all candidates.
        candidates: Number of random negatives per step, shared by the rows of a batch. None, or at least C, for all
            candidates. Metrics always use all candidates.
        scores: Reported metrics; the first one selects the best weights.

    Raises:
        ConfigError: Negatives are sampled, but the model does not take ``candidates`` or labels are smoothed.

    References:
        Bordes et al., Translating Embeddings for Modeling Multi-relational Data, NeurIPS 2013 (filtered ranks).
        Jean et al., On Using Very Large Target Vocabulary for Neural Machine Translation, ACL 2015 (sampled softmax).
        Lacroix et al., Canonical Tensor Decomposition for Knowledge Base Completion, ICML 2018 (1-to-all scoring).
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
        self.loss_floor = None if label_smoothing else 0.0
        self.candidates = candidates

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None or targets.dtype != torch.long:
            dtype = "none" if targets is None else format_dtype(targets.dtype)
            raise ConfigError(f"task: ranking needs the index of the correct candidate; the {split} split has {dtype}")
        is_invalid = (targets < 0) | (targets >= self.num_classes)
        if is_invalid.any():
            row = int(is_invalid.nonzero()[0, 0])
            raise ConfigError(
                f"data: {split} targets must be 0..{self.num_classes - 1}; found {targets[row].tolist()} at row {row}"
            )

    def score_candidates(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the scores (B, C) of all candidates, and the targets (B,).

        Raises:
            ConfigError: The scores have another shape.
        """
        return self._score_all(batch), batch.require_target()

    def _score_all(self, batch: Batch) -> Tensor:
        scores = self.forward_batch(batch)
        if scores.shape != (len(batch), self.num_classes):
            raise ConfigError(
                f"model: scores {tuple(scores.shape)} do not rank {self.num_classes} candidates for {len(batch)} rows"
            )
        return scores

    def average_outputs(self, outputs: Tensor) -> Tensor:
        return average_logits(outputs)

    def choose_candidates(self, batch: Batch) -> Tensor:
        scores = self._score_all(batch)
        known = batch.inputs.get("known")
        if known is not None:
            others = known.masked_fill(known == batch.require_target()[:, None], -1)
            scores = _exclude(scores, others)
        return scores.argmax(1)

    def predict(self, batch: Batch, top_k: PositiveInt | None = None) -> Prediction:
        """Return the filtered rank and the score of the answer of each row, or its best candidates.

        Args:
            batch: Rows; those with a target have an answer.
            top_k: Number of candidates that are returned instead, without known answers; None ranks the answers, or
                returns ``DEFAULT_CANDIDATES`` if there are none.
        """
        scores = self._score_all(batch)
        known = batch.inputs.get("known")
        if batch.target is not None and top_k is None:
            answer = batch.target[:, None]
            rank, _ = filtered_ranks_and_nll(scores, batch.target, answer if known is None else known)
            return {"rank": rank, "score": scores.gather(1, answer)[:, 0]}
        if known is not None:
            scores = _exclude(scores, known)
        best = scores.topk(min(top_k or DEFAULT_CANDIDATES, self.num_classes))
        return {"candidate": best.indices, "score": best.values}

    def loss(self, batch: Batch, group: str) -> Tensor:
        scores, target = (
            self.score_candidates(batch)
            if self.candidates is None
            else self.score_sampled_candidates(batch, self.candidates)
        )
        return F.cross_entropy(scores, target, label_smoothing=self.label_smoothing)

    def score_sampled_candidates(self, batch: Batch, count: int) -> tuple[Tensor, Tensor]:
        """Return the scores of the target and of random negatives, for the sampled softmax.

        Each negative is weighted by C / count, so that the sum of exponentials is an unbiased estimate of that over all
        candidates. Negatives equal to the target are masked.

        Args:
            batch: Batch of B rows.
            count: Number of negatives, drawn with replacement.

        Returns:
            Scores (B, 1 + count), that of the target first, and its index, zeros (B,).
        """
        target = batch.require_target()
        negatives = torch.randint(self.num_classes, (count,), device=target.device)
        scores = self.model(**self.select_model_inputs(batch), candidates=torch.cat((target, negatives)))
        positive, negative = scores.split((len(target), count), 1)
        negative = (negative + math.log(self.num_classes / count)).masked_fill_(negatives == target[:, None], -math.inf)
        return torch.cat((positive.diagonal()[:, None], negative), 1), torch.zeros_like(target)

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
        raise ConfigError("task.candidates: this model always scores all candidates; set task.candidates=null")
    if label_smoothing:
        raise ConfigError("task.label_smoothing: smooths over all candidates and needs task.candidates=null")


def _exclude(scores: Tensor, known: Tensor) -> Tensor:
    """Return scores (B, C) that are minus infinity for the candidates (B, K), of which -1 is none."""
    rows, columns = (known >= 0).nonzero(as_tuple=True)
    return scores.index_put((rows, known[rows, columns]), scores.new_full((), -math.inf))
