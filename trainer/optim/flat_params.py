"""One player's parameters as a single vector.

Clipping, updating, averaging and checking then cost one call each instead of one per parameter, which for a small
network is most of a step. The parameters stay what they were to the model: views into the vector.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

import torch
from torch import Tensor, nn

_ALIGN = 16
"""Parameters start on multiples of 16 numbers, so that kernels see them as aligned as if they stood alone."""


class FlatParameters:
    """The vector ``data`` (P,), its gradient ``grad`` (P,), and the views the model holds.

    Parameters that weight decay may shrink come first, ``data[:split]``: those in ``decayed``, or where that is not
    given those of two dimensions or more, matrices and kernels. Biases and the gains of norms follow.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], decayed: Container[nn.Parameter] | None = None):
        trained = [p for p in dict.fromkeys(parameters) if p.requires_grad]
        assert trained, "a player without parameters"
        shrinks = {p: p.ndim >= 2 if decayed is None else p in decayed for p in trained}
        self.parameters = sorted(trained, key=lambda p: not shrinks[p])
        first = self.parameters[0]
        lengths = [-(-p.numel() // _ALIGN) * _ALIGN for p in self.parameters]
        self.data = first.new_zeros(sum(lengths), requires_grad=False)
        self.grad = torch.zeros_like(self.data)
        self.num_decayed = sum(n for p, n in zip(self.parameters, lengths, strict=True) if shrinks[p])
        start = 0
        for parameter, length in zip(self.parameters, lengths, strict=True):
            view = self._view_like(self.data, start, parameter)
            view.copy_(parameter.detach())
            parameter.data = view
            parameter.grad = self._view_like(self.grad, start, parameter)
            start += length

    @staticmethod
    def _view_like(vector: Tensor, start: int, like: Tensor) -> Tensor:
        # Same strides as the parameter had, so that a channels-last kernel stays channels-last; a parameter cut out
        # of a larger tensor has holes, which empty_like closes.
        return vector.as_strided(like.shape, torch.empty_like(like).stride(), start)

    def zero_grad(self) -> None:
        self.grad.zero_()

    def nonfinite_parameter_names(self, named: Iterable[tuple[str, nn.Parameter]]) -> list[str]:
        """The parameters whose gradient holds a NaN or an infinity."""
        mine = {id(p) for p in self.parameters}
        return [name for name, p in named if id(p) in mine and p.grad is not None and not p.grad.isfinite().all()]
