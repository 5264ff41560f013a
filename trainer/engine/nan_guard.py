"""What every step is looked at for: a loss or gradient that is NaN or infinite must not reach the weights.

The same look gives the mean loss and gradient norm that are logged. On the CPU the host looks every step, which costs
nothing there; on an accelerator that would stall it, so the device skips the update and the host looks now and then.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor

CHECK_INTERVAL = 50
"""Steps between two looks of the host at an accelerator."""


class NonFiniteStepError(Exception):
    """Something seen since the last look was NaN or infinite, and was not applied."""


class NanGuard(ABC):
    """Sums of losses and gradient norms since the last ``reset``."""

    def __init__(self) -> None:
        self.steps = 0

    @abstractmethod
    def update(self, loss: Tensor, norm: Tensor) -> Tensor | None:
        """Takes note of one update that is about to be made.

        Returns a scalar on the device that is 1 if this and every later update must be skipped, or None if the host
        has made sure of this one. Raises NotFinite when the host sees that something was not finite.
        """

    @abstractmethod
    def check(self) -> None:
        """Raises NotFinite if anything so far was not finite; a synchronisation point on an accelerator."""

    @abstractmethod
    def totals(self) -> tuple[float, float]:
        """Of losses, and of gradient norms before clipping."""

    @abstractmethod
    def reset(self, sums: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> None:
        """Starts to add up anew, or goes on from a state."""

    def compute_means(self) -> tuple[float, float]:
        loss, norm = self.totals()
        return loss / max(1, self.steps), norm / max(1, self.steps)


class CpuNanGuard(NanGuard):
    """On the CPU: two plain numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.loss = self.norm = 0.0

    def update(self, loss: Tensor, norm: Tensor) -> None:
        loss_value, norm_value = loss.item(), norm.item()
        if not math.isfinite(loss_value + norm_value):
            raise NonFiniteStepError
        self.loss += loss_value
        self.norm += norm_value
        self.steps += 1

    def check(self) -> None:
        return

    def totals(self) -> tuple[float, float]:
        return self.loss, self.norm

    def reset(self, sums: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> None:
        self.loss, self.norm = sums
        self.steps = steps


class DeviceNanGuard(NanGuard):
    """On an accelerator: everything stays there between two looks."""

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.total = torch.zeros(2, device=device)
        self.found_nonfinite = torch.zeros((), device=device)

    def update(self, loss: Tensor, norm: Tensor) -> Tensor:
        values = torch.stack((loss, norm))
        self.total += values
        self.found_nonfinite = torch.maximum(self.found_nonfinite, 1.0 - values.sum().isfinite().float())
        self.steps += 1
        if self.steps % CHECK_INTERVAL == 0:
            self.check()
        return self.found_nonfinite

    def check(self) -> None:
        if self.found_nonfinite.item():
            raise NonFiniteStepError

    def totals(self) -> tuple[float, float]:
        loss, norm = self.total.tolist()
        return loss, norm

    def reset(self, sums: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> None:
        self.total.copy_(torch.tensor(sums))
        self.steps = steps


def make_nan_guard(device: torch.device) -> NanGuard:
    return CpuNanGuard() if device.type == "cpu" else DeviceNanGuard(device)
