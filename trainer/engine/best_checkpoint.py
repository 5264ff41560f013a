"""Which weights to keep, and when nothing better is to be expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainer.core.metric import Metric
from trainer.metrics.registry import NLL, is_better

TIEBREAK_METRIC = NLL
"""The metric that decides between equal ones: few rows make steps of accuracy, while this still falls."""


class BestCheckpoint:
    """The best validation score so far, when it was, and the weights that had it.

    Of equal scores the one with the lower ``nll`` is better, where a task reports both; else the first.
    """

    def __init__(self, monitor: Metric) -> None:
        self.monitor = monitor
        self.score: float | None = None
        self.tiebreak_score: float | None = None
        self.epoch: int | None = None
        self.step: int | None = None
        self.weights: dict[str, Tensor] | None = None
        self.is_saved = True

    def is_improvement(self, scores: Mapping[str, float]) -> bool:
        """Whether a validation with these scores is better than the best so far."""
        score = scores[self.monitor.name]
        if score != self.score:
            return is_better(score, self.score, self.monitor)
        return (
            TIEBREAK_METRIC.name in scores
            and self.tiebreak_score is not None
            and is_better(scores[TIEBREAK_METRIC.name], self.tiebreak_score, TIEBREAK_METRIC)
        )

    def replace_weights(
        self, scores: Mapping[str, float], epoch: int, step: int, weights: Mapping[str, Tensor]
    ) -> None:
        """Keeps a copy of the weights; they are written to the disk with the next state."""
        self.score, self.tiebreak_score = scores[self.monitor.name], scores.get(TIEBREAK_METRIC.name)
        self.epoch, self.step = epoch, step
        self.weights = {name: value.clone() for name, value in weights.items()}
        self.is_saved = False

    def count_validations_since(self, history: Sequence[Mapping[str, float]]) -> int:
        return sum(self.epoch is None or row["epoch"] > self.epoch for row in history)

    def state_dict(self) -> dict[str, Any]:
        """Without the weights, which have a file of their own."""
        position = {"epoch": self.epoch, "step": self.step, "higher_is_better": self.monitor.higher_is_better}
        return {"score": self.score, "finer": self.tiebreak_score} | position

    def load_state_dict(self, state: Mapping[str, Any], weights: dict[str, Tensor] | None) -> None:
        self.score, self.epoch, self.step = state["score"], state["epoch"], state["step"]
        self.tiebreak_score = state.get("finer")
        self.weights = weights
