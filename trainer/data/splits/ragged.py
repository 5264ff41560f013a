"""Variable-length rows, stored concatenated and padded per batch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.device_copy import copy_to_device
from trainer.core.split import Split
from trainer.utils.errors import DataError


@dataclass(frozen=True)
class Ragged:
    """Array of rows of different lengths.

    Args:
        values: Concatenated rows, (sum of lengths, ...).
        lengths: Length of each row, (N,) int64.
    """

    values: Tensor
    lengths: Tensor

    @classmethod
    def from_rows(cls, rows: Iterable[Tensor | Sequence[int]]) -> Ragged:
        """Create from rows (T_i, ...) or lists of integers."""
        tensors = [torch.as_tensor(row) for row in rows]
        return cls(torch.cat(tensors), torch.tensor([len(row) for row in tensors]))

    def __len__(self) -> int:
        return len(self.lengths)

    def select_rows(self, index: Tensor) -> Ragged:
        """Select the rows ``index``, in that order."""
        starts = (self.lengths.cumsum(0) - self.lengths)[index]
        lengths = self.lengths[index]
        offsets = torch.arange(int(lengths.sum())) - (lengths.cumsum(0) - lengths).repeat_interleave(lengths)
        positions = copy_to_device(starts.repeat_interleave(lengths) + offsets, self.values.device)
        return Ragged(self.values[positions], lengths)


class RaggedSplit(Split):
    """Split with variable-length inputs and optionally targets.

    A batch is padded to its longest row with zeros (targets with ``IGNORE_INDEX``) and has the ``lengths`` (B,) of the
    first input. Lengths stay on the CPU, where the loader sorts by them, so that the width of a batch is known without
    device synchronization.

    Args:
        inputs: ``{"x": Ragged, ...}``.
        target: Ragged, tensor (N, ...) or None.
        row_names: Title and names of the rows, such as file names; None for their numbers.

    Raises:
        DataError: A row is empty.
    """

    def __init__(
        self,
        inputs: Mapping[str, Ragged],
        target: Ragged | Tensor | None,
        row_names: tuple[str, Sequence[object]] | None = None,
    ):
        self.inputs = dict(inputs)
        self.target = target
        self.row_names = row_names
        first = next(iter(self.inputs.values()))
        self._length = len(first)
        self._lengths = first.lengths
        self._starts = {name: part.lengths.cumsum(0) - part.lengths for name, part in self._parts().items()}
        for part in self._parts().values():
            assert len(part) == self._length, "parts of one split differ in rows"
            if self._length and not part.lengths.min():
                raise DataError(f"row {int(part.lengths.argmin())} is empty; every row needs at least one step")
        assert target is None or len(target) == self._length, "inputs and targets of one split differ in rows"

    def _parts(self) -> dict[str, Ragged]:
        return self.inputs | ({"": self.target} if isinstance(self.target, Ragged) else {})

    def __len__(self) -> int:
        return self._length

    def get_lengths(self) -> Tensor:
        """Return the longest part of each row: sorting by source length alone pads a third of translation targets."""
        return torch.stack([part.lengths for part in self._parts().values()]).amax(0)

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        return super().get_row_names(first) if self.row_names is None else self.row_names

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
        return RaggedSplit(moved, target, self.row_names)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        inputs = {name: self._pad_rows(name, part, index, 0) for name, part in self.inputs.items()}
        device = next(iter(inputs.values())).device
        target = self.target
        if isinstance(target, Ragged):
            target = self._pad_rows("", target, index, IGNORE_INDEX)
        elif target is not None:
            target = target[copy_to_device(index, device)]
        return Batch(inputs | {"lengths": copy_to_device(self._lengths[index], device)}, target, index)

    def _pad_rows(self, name: str, part: Ragged, index: Tensor, filler: int) -> Tensor:
        """Gather rows as (B, longest, ...), padded with ``filler``."""
        lengths = part.lengths[index]
        steps = torch.arange(int(lengths.max()))
        mask = steps < lengths[:, None]
        positions = (self._starts[name][index][:, None] + steps).where(mask, 0)
        device = part.values.device
        rows = part.values[copy_to_device(positions, device)]
        is_padding = copy_to_device(~mask, device).view(*mask.shape, *[1] * (rows.ndim - 2))
        return rows.masked_fill_(is_padding, filler)
