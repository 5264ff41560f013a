"""Rows of unequal length: kept end to end, padded only as far as the longest row of a batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.dataset import Split
from trainer.utils.errors import ConfigError


@dataclass(frozen=True)
class Ragged:
    """``values`` (sum of lengths, ...) end to end, ``lengths`` (N,) int64 of the rows in it."""

    values: Tensor
    lengths: Tensor

    @classmethod
    def from_rows(cls, rows: Iterable[Tensor | Sequence[int]]) -> Ragged:
        """From rows (T_i, ...), or lists of whole numbers."""
        tensors = [torch.as_tensor(row) for row in rows]
        return cls(torch.cat(tensors), torch.tensor([len(row) for row in tensors]))

    def __len__(self) -> int:
        return len(self.lengths)

    def select_rows(self, index: Tensor) -> Ragged:
        """The rows ``index`` alone, in that order."""
        starts = (self.lengths.cumsum(0) - self.lengths)[index]
        lengths = self.lengths[index]
        inside = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        return Ragged(self.values[starts.repeat_interleave(lengths) + inside], lengths)


class RaggedSplit(Split):
    """Rows whose inputs, and perhaps targets, are of unequal length.

    Inputs ``{"x": Ragged, ...}``; the target a Ragged, a tensor (N, ...) or None. A batch holds them padded with
    zeros (targets: not counted) to its own longest row, and the ``lengths`` (B,) of the first input. Lengths stay on
    the CPU, where the loader sorts by them and a batch's width is known without waiting for the device.

    Raises ConfigError for a row without a single step.
    """

    def __init__(self, inputs: Mapping[str, Ragged], target: Ragged | Tensor | None):
        self.inputs = dict(inputs)
        self.target = target
        first = next(iter(self.inputs.values()))
        self._length = len(first)
        self._lengths = first.lengths
        self._starts = {name: part.lengths.cumsum(0) - part.lengths for name, part in self._parts().items()}
        for part in self._parts().values():
            assert len(part) == self._length, "parts of one split differ in rows"
            if self._length and not part.lengths.min():
                raise ConfigError(f"data: row {int(part.lengths.argmin())} is empty: it has no step to read")
        assert target is None or len(target) == self._length, "inputs and targets of one split differ in rows"

    def _parts(self) -> dict[str, Ragged]:
        return self.inputs | ({"": self.target} if isinstance(self.target, Ragged) else {})

    def __len__(self) -> int:
        return self._length

    def get_lengths(self) -> Tensor:
        """Of the longest part of each row: sorted by one side alone, translations leave a third of the other empty."""
        return torch.stack([part.lengths for part in self._parts().values()]).amax(0)

    def get_targets(self) -> Tensor | None:
        if isinstance(self.target, Ragged):
            return self._pad_rows("", self.target, torch.arange(self._length), IGNORE_INDEX)
        return self.target

    def count_bytes(self) -> int:
        dense = self.target.nbytes if isinstance(self.target, Tensor) else 0
        return sum(part.values.nbytes for part in self._parts().values()) + dense

    def to(self, device: torch.device) -> RaggedSplit:
        moved = {name: Ragged(part.values.to(device), part.lengths) for name, part in self._parts().items()}
        target = self.target.to(device) if isinstance(self.target, Tensor) else moved.pop("", None)
        return RaggedSplit(moved, target)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        inputs = {name: self._pad_rows(name, part, index, 0) for name, part in self.inputs.items()}
        device = next(iter(inputs.values())).device
        target = self.target
        if isinstance(target, Ragged):
            target = self._pad_rows("", target, index, IGNORE_INDEX)
        elif target is not None:
            target = target[index.to(device)]
        return Batch(inputs | {"lengths": self._lengths[index].to(device)}, target, index)

    def _pad_rows(self, name: str, part: Ragged, index: Tensor, filler: int) -> Tensor:
        """(B, longest, ...)"""
        lengths = part.lengths[index]
        steps = torch.arange(int(lengths.max()))
        real = steps < lengths[:, None]
        places = (self._starts[name][index][:, None] + steps).where(real, 0)
        device = part.values.device
        rows = part.values[places.to(device)]
        return rows.masked_fill_(~real.to(device).view(*real.shape, *[1] * (rows.ndim - 2)), filler)
