"""Batches, and the accumulation of scores over batches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

IGNORE_INDEX = -100
"""Target of a position that is ignored (padding, an unlabeled node): it has no loss and no score."""


@dataclass(slots=True)
class Batch:
    """One batch.

    Attributes:
        inputs: Arguments of the model's ``forward``, by name.
        target: Targets; None where there is nothing to predict, as for points to generate.
        index: Rows (B,) of the split, so that an error can name them.
        output_index: Rows (K,) of the output that the K targets belong to, where a model needs more inputs than it is
            scored on, such as all nodes of a graph.
    """

    inputs: dict[str, Tensor]
    target: Tensor | None
    index: Tensor
    output_index: Tensor | None = None

    def __len__(self) -> int:
        return len(self.index)

    def require_target(self) -> Tensor:
        """Return the target.

        Raises:
            ValueError: The batch has none.
        """
        if self.target is None:
            raise ValueError("these rows have no targets")
        return self.target

    def to(self, device: torch.device) -> Batch:
        """Move the batch to a device; from pinned memory without waiting."""
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Copy the batch to page-locked memory; called by torch's DataLoader."""
        return self._map_tensors(Tensor.pin_memory)

    def _map_tensors(self, function: Callable[[Tensor], Tensor]) -> Batch:
        target, output_index = (
            None if value is None else function(value) for value in (self.target, self.output_index)
        )
        return Batch({name: function(value) for name, value in self.inputs.items()}, target, self.index, output_index)


class RowValues(NamedTuple):
    """Values for a metric of all examples at once (a ranking, a distance): concatenated, not summed."""

    values: Tensor


Score = dict[str, Tensor | RowValues]


class ScoreAccumulator:
    """Accumulates scores of batches exactly: sums stay on the device and add up, row values are concatenated.

    Smaller batches and ignored rows therefore have the right weight: a task divides the sums once, at the end.
    """

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._rows: dict[str, list[Tensor]] = {}

    def update(self, score: Score) -> None:
        for name, value in score.items():
            if isinstance(value, RowValues):
                self._rows.setdefault(name, []).append(value.values)
            elif name in self._sums:
                self._sums[name] += value
            else:
                self._sums[name] = value.clone()

    def compute_totals(self) -> dict[str, Tensor]:
        """Return all totals on the CPU, where a task computes its metrics; a synchronization point."""
        rows = {name: torch.cat(parts) for name, parts in self._rows.items()}
        return {name: value.cpu() for name, value in (self._sums | rows).items()}
