"""Selection of the best weights by the monitored validation metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainer.core.metric import Metric
from trainer.core.task import Task
from trainer.metrics.registry import NLL, is_better

TIEBREAK_METRIC = NLL
"""Metric that breaks ties: on few rows accuracy has few distinct values, while the NLL still improves."""


class BestCheckpoint:
    """Best validation score so far, its epoch and step, and a copy of its weights.

    Of equal scores, the one with the lower ``nll`` is better if the task reports it; otherwise the earlier one.

    Args:
        monitor: Monitored metric.
    """

    def __init__(self, monitor: Metric) -> None:
        self.monitor = monitor
        self.score: float | None = None
        self.tiebreak_score: float | None = None
        self.epoch: int | None = None
        self.step: int | None = None
        self.weights: dict[str, Tensor] | None = None
        self.decisions: dict[str, Tensor] = {}
        self.is_saved = True

    def is_improvement(self, scores: Mapping[str, float]) -> bool:
        """Return whether a validation with these metrics is better than the best so far."""
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
        """Store new best weights; they are saved with the next checkpoint.

        Args:
            scores: Validation metrics, by name.
            epoch: Number of the epoch, from 1.
            step: Number of steps taken.
            weights: Weights, which are copied.
        """
        self.score, self.tiebreak_score = scores[self.monitor.name], scores.get(TIEBREAK_METRIC.name)
        self.epoch, self.step = epoch, step
        self.weights = {name: value.clone() for name, value in weights.items()}
        self.decisions = {}
        self.is_saved = False

    def load_into(self, task: Task) -> None:
        """Load the best weights and their decisions into a task."""
        assert self.weights is not None, "no validation has had a finite score"
        task.load_state_dict(self.weights)
        task.decisions = dict(self.decisions)

    def make_checkpoint(self) -> dict[str, Any]:
        """Return the best weights with their scores, and the decisions that were fitted with them."""
        return {"task": self.weights, **self.state_dict(), "decisions": self.decisions}

    def count_validations_since(self, history: Sequence[Mapping[str, float]]) -> int:
        """Return the number of rows of the history after the best one."""
        return sum(self.epoch is None or row["epoch"] > self.epoch for row in history)

    def state_dict(self) -> dict[str, Any]:
        """Return the state without the weights, which are saved in a separate file."""
        position = {"epoch": self.epoch, "step": self.step, "higher_is_better": self.monitor.higher_is_better}
        return {"score": self.score, "tiebreak_score": self.tiebreak_score} | position

    def load_state_dict(self, state: Mapping[str, Any], checkpoint: Mapping[str, Any] | None) -> None:
        """Restore a state.

        Args:
            state: State from ``state_dict``.
            checkpoint: Checkpoint of the best weights; None if there are none.
        """
        self.score, self.epoch, self.step = state["score"], state["epoch"], state["step"]
        self.tiebreak_score = state.get("tiebreak_score")
        self.weights = None if checkpoint is None else checkpoint["task"]
        self.decisions = {} if checkpoint is None else checkpoint["decisions"]
