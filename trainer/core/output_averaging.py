"""What an ensemble needs of its task: averages of the outputs of several models, and what each model would choose."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from torch import Tensor

from trainer.core.batch import Batch


@runtime_checkable
class OutputAverager(Protocol):
    """Protocol of tasks whose predictions can be averaged over models."""

    def average_outputs(self, outputs: Tensor) -> Tensor:
        """Return the output (B, ...) whose prediction is the average of those of several models.

        Args:
            outputs: Outputs (M, B, ...) of M models for the same rows.
        """


@runtime_checkable
class CandidateChooser(Protocol):
    """Protocol of tasks that rank candidates."""

    def choose_candidates(self, batch: Batch) -> Tensor:
        """Return the candidate (B,) that is ranked first for each row, with the filter of the metrics.

        Args:
            batch: Rows with answers.
        """


@runtime_checkable
class TokenChooser(Protocol):
    """Protocol of tasks that predict tokens one after another."""

    def choose_tokens(self, batch: Batch) -> Tensor:
        """Return the most likely token (B, T) at each target position given the targets before it.

        Args:
            batch: Rows with targets; where these are to be ignored, so are the tokens.
        """
