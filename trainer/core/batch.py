"""Batches, and the accumulation of scores over batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.core.device_copy import copy_to_device

IGNORE_INDEX = -100
"""Target of a position that is ignored (padding, an unlabeled node): it has no loss and no score."""


@dataclass(slots=True)
class Batch:
    """Batch of B examples.

    Attributes:
        inputs: Arguments of the model's ``forward``, by name, such as ``x`` (B, ...).
        target: Targets (B, ...), or (K, ...) with ``output_index``; None if there is nothing to predict, as in
            generative tasks.
        index: Row numbers (B,) within the split, int64, for error messages and captions.
        output_index: Rows (K,) of the model output that the K targets belong to, if the model needs more inputs than it
            is scored on, such as all nodes of a graph. None for all rows.
        output: Output of the model (B, ...) or (K, ...) that was computed before, instead of the inputs; None computes
            it.
    """

    inputs: dict[str, Tensor]
    target: Tensor | None
    index: Tensor
    output_index: Tensor | None = None
    output: Tensor | None = None

    def __len__(self) -> int:
        return self.index.numel()

    def require_target(self) -> Tensor:
        """Return the targets.

        Raises:
            ValueError: The batch has none.
        """
        if self.target is None:
            raise ValueError("these rows have no targets")
        return self.target

    def to(self, device: torch.device) -> Batch:
        """Return a copy of the batch on a device; the host does not wait for a copy to CUDA."""
        return self._map_tensors(partial(copy_to_device, device=device))

    def pin_memory(self) -> Batch:
        """Return a copy of the batch in page-locked memory; called by torch's DataLoader."""
        return self._map_tensors(Tensor.pin_memory)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Batch:
        target, output_index = (
            None if value is None else function(value) for value in (self.target, self.output_index)
        )
        return Batch({name: function(value) for name, value in self.inputs.items()}, target, self.index, output_index)


class RowValues(NamedTuple):
    """Values (B, ...) for a metric of all rows at once, such as a rank or a distance: concatenated, not summed."""

    values: Tensor


Score = dict[str, Tensor | RowValues]
"""Sums and row values of a batch, by name."""


def move_score(score: Score, device: torch.device) -> Score:
    """Return a score with its tensors on a device.

    Args:
        score: Score of a batch.
        device: The device.
    """
    return {
        name: RowValues(value.values.to(device)) if isinstance(value, RowValues) else value.to(device)
        for name, value in score.items()
    }


class ScoreAccumulator:
    """Accumulator of the scores of batches: sums are added on the device, row values are concatenated.

    The task divides the sums once, at the end, so that smaller batches and ignored rows have the right weight.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, list[Tensor]] = {}

    def update(self, score: Score) -> None:
        """Add the score of a batch."""
        for name, value in score.items():
            if isinstance(value, RowValues):
                self._rows.setdefault(name, []).append(value.values)
            elif name in self._sums:
                self._sums[name] += value
            else:
                self._sums[name] = value.clone()

    def compute_totals(self) -> dict[str, Tensor]:
        """Return the totals of all batches by name, on the CPU; this synchronizes with the device."""
        rows = {name: torch.cat(parts) for name, parts in self._rows.items()}
        return {name: value.cpu() for name, value in (self._sums | rows).items()}
