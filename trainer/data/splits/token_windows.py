"""Windows over one long text, to predict each token's successor."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.dataset import Split
from trainer.utils.errors import ConfigError


class TokenWindows(Split):
    """Consecutive windows of ``length`` tokens, none of which overlap; the target is x one token later.

    ``moving`` windows begin at another token every epoch, so that each token is seen at every place in a window; for
    that one window fewer is cut. Memory holds the text (L,) once, as int32.

    Raises ConfigError for a text without a whole window.
    """

    def __init__(self, tokens: Tensor, length: int, name: str, moving: bool = False):
        fitting = (len(tokens) - 1) // length
        if fitting < 1:
            raise ConfigError(
                f"data.seq_len: a window of {length} and the token after it need {length + 1} tokens;"
                f" the {name} part of the text has {len(tokens)}"
            )
        self.tokens = tokens.int()
        self.length = length
        self.name = name
        self.moving = moving
        self._rows = max(1, len(tokens) // length - 1) if moving else fitting
        self._phases = min(length, len(tokens) - self._rows * length) if moving else 1

    def __len__(self) -> int:
        return self._rows

    def batch(self, index: Tensor, epoch: int) -> Batch:
        start = rng.hash_seed(epoch) % self._phases
        windows = self.tokens[start:].unfold(0, self.length + 1, self.length)
        rows = windows[index.to(windows.device)]
        return Batch({"x": rows[:, :-1].long()}, rows[:, 1:].long(), index)

    def get_targets(self) -> Tensor:
        return self.tokens[1:][: self._rows * self.length].view(-1, self.length).long()

    def count_bytes(self) -> int:
        return self.tokens.nbytes

    def to(self, device: torch.device) -> TokenWindows:
        return TokenWindows(self.tokens.to(device), self.length, self.name, self.moving)
