"""Which of all entities answers a query, scored by where the right one ranks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer import metrics
from trainer.batch import Batch, Rows, Score
from trainer.errors import ConfigError
from trainer.task import Task
from trainer.types import PositiveInt, Probability

ROWS_AT_ONCE = 256
"""How many rows are ranked at a time: what is compared then stays small beside the scores themselves."""


class Ranking(Task):
    """(B, C) -> (B)

    Cross-entropy over all C candidates (Lacroix et al. 2018). Ranks are filtered (Bordes et al. 2013): of the right
    answers to a query, which a batch brings as ``known`` (B, K), only the row's own competes.
    """

    monitor = "mrr"

    def __init__(self, model: nn.Module, num_classes: PositiveInt, label_smoothing: Probability):
        super().__init__(model)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing

    def check(self, targets: Tensor | None, split: str) -> None:
        if targets is None or targets.dtype != torch.long:
            found = "none" if targets is None else str(targets.dtype).removeprefix("torch.")
            raise ConfigError(f"task: ranking needs the number of the right candidate; the {split} split has {found}")
        wrong = (targets < 0) | (targets >= self.num_classes)
        if wrong.any():
            at = int(wrong.nonzero()[0, 0])
            raise ConfigError(
                f"data: {split} targets must be 0..{self.num_classes - 1}; found {targets[at].tolist()} at row {at}"
            )

    def scores(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The score of every candidate, (B, C), and the right one (B,)."""
        scores, target = self.call(batch), batch.target
        assert target is not None
        if scores.shape != (len(target), self.num_classes):
            raise ConfigError(
                f"model: scores {tuple(scores.shape)} do not rank {self.num_classes} candidates for {len(target)} rows"
            )
        return scores, target

    def loss(self, batch: Batch, player: str) -> Tensor:
        return F.cross_entropy(*self.scores(batch), label_smoothing=self.label_smoothing)

    def score(self, batch: Batch) -> Score:
        scores, target = self.scores(batch)
        known = batch.inputs.get("known", target[:, None])
        parts = zip(*(value.split(ROWS_AT_ONCE) for value in (scores.float(), target, known)), strict=True)
        found = [
            (metrics.ranks(part, right, others), F.cross_entropy(part, right, reduction="none"))
            for part, right, others in parts
        ]
        rank, nll = (torch.cat(values) for values in zip(*found, strict=True))
        return {"rank": Rows(rank), "nll": metrics.wide(nll).sum()}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        rank = totals["rank"]
        return metrics.ranking(rank) | {"nll": float(totals["nll"]) / len(rank)}
