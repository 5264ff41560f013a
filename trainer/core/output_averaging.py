"""Averages of the outputs of several models, of which an ensemble makes its predictions."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class OutputAverager(Protocol):
    """Protocol of tasks whose predictions can be averaged over models."""

    def average_outputs(self, outputs: Tensor) -> Tensor:
        """Return the output (B, ...) whose prediction is the average of those of several models.

        Args:
            outputs: Outputs (M, B, ...) of M models for the same rows.
        """
