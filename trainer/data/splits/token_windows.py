"""Token windows for next-token prediction."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.device_copy import copy_to_device
from trainer.core.split import Split
from trainer.utils.errors import DataError


class TokenWindows(Split):
    """Consecutive non-overlapping windows of ``length`` tokens; the target is x shifted by one token.

    The text (L,) is stored once, as int32.

    Args:
        tokens: Token ids of the text, (L,).
        length: Number of tokens of a window.
        name: Name of the split, for the error message.
        moving: Start windows at another offset in every epoch, so that tokens occur at all positions; this leaves one
            window fewer.

    Raises:
        DataError: The text is shorter than one window.
    """

    def __init__(self, tokens: Tensor, length: int, name: str, moving: bool = False):
        num_windows = (len(tokens) - 1) // length
        if num_windows < 1:
            raise DataError(
                f"seq_len: a window of {length} and the next token need {length + 1} tokens;"
                f" the {name} split has {len(tokens)}"
            )
        self.tokens = tokens.int()
        self.length = length
        self.name = name
        self.moving = moving
        self._rows = max(1, len(tokens) // length - 1) if moving else num_windows
        self._phases = min(length, len(tokens) - self._rows * length) if moving else 1

    def __len__(self) -> int:
        return self._rows

    def batch(self, index: Tensor, epoch: int) -> Batch:
        start = rng.hash_seed(epoch) % self._phases
        windows = self.tokens[start:].unfold(0, self.length + 1, self.length)
        rows = windows[copy_to_device(index, windows.device)]
        return Batch({"x": rows[:, :-1].long()}, rows[:, 1:].long(), index)

    def get_targets(self) -> Tensor:
        return self.tokens[1:][: self._rows * self.length].view(-1, self.length).long()

    def count_bytes(self) -> int:
        return self.tokens.nbytes

    def to(self, device: torch.device) -> TokenWindows:
        return TokenWindows(self.tokens.to(device), self.length, self.name, self.moving)
