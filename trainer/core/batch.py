"""One batch of examples, and the tensors a score is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

IGNORE_INDEX = -100
"""The target of a position that does not count (padding, an unlabelled node): it has no loss and no score."""


@dataclass(slots=True)
class Batch:
    """What one step sees.

    ``inputs`` go to the model's ``forward`` by name. ``target`` is None where there is nothing to predict (a set of
    points to generate). ``index`` (B,) names the rows of the split, so that a fault can say which rows it saw. Where a
    model must see more than what is asked of it, such as all nodes of a graph, ``asked`` (K,) are the rows of its
    output that the K targets are for.
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
        """The batch on a device; from pinned memory the copy does not wait."""
        return self._map_tensors(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """The batch in page-locked memory (called by the DataLoader)."""
        return self._map_tensors(Tensor.pin_memory)

    def _map_tensors(self, change: Callable[[Tensor], Tensor]) -> Batch:
        target, asked = (None if value is None else change(value) for value in (self.target, self.output_index))
        return Batch({name: change(value) for name, value in self.inputs.items()}, target, self.index, asked)


class RowValues(NamedTuple):
    """A score that must see every example at once (a ranking, a distance between sets): concatenated, not summed."""

    values: Tensor


Score = dict[str, Tensor | RowValues]


class ScoreAccumulator:
    """Scores of many batches, reduced exactly: sums stay on the device and add, rows concatenate.

    A batch of another size, or a row that does not count, therefore weighs what it should: a task turns sums into a
    mean once, at the end.
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
        """Everything on the CPU, where a task does the last of its arithmetic; a synchronisation point."""
        rows = {name: torch.cat(parts) for name, parts in self._rows.items()}
        return {name: value.cpu() for name, value in (self._sums | rows).items()}
