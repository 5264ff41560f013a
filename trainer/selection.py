"""Which weights to keep, and when nothing better is to be expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from trainer.metrics import better


class Best:
    """The best validation score so far, when it was, and the weights that had it."""

    def __init__(self, monitor: str) -> None:
        self.monitor = monitor
        self.score: float | None = None
        self.epoch: int | None = None
        self.step: int | None = None
        self.weights: dict[str, Tensor] | None = None
        self.is_saved = True

    def beaten_by(self, score: float) -> bool:
        return better(score, self.score, self.monitor)

    def replace(self, score: float, epoch: int, step: int, weights: Mapping[str, Tensor]) -> None:
        """Keeps a copy of the weights; they are written to the disk with the next state."""
        self.score, self.epoch, self.step = score, epoch, step
        self.weights = {name: value.clone() for name, value in weights.items()}
        self.is_saved = False

    def validations_since(self, history: Sequence[Mapping[str, float]]) -> int:
        return sum(self.epoch is None or row["epoch"] > self.epoch for row in history)

    def state_dict(self) -> dict[str, Any]:
        """Without the weights, which have a file of their own."""
        return {"score": self.score, "epoch": self.epoch, "step": self.step}

    def load_state_dict(self, state: Mapping[str, Any], weights: dict[str, Tensor] | None) -> None:
        self.score, self.epoch, self.step = state["score"], state["epoch"], state["step"]
        self.weights = weights
