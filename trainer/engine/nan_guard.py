"""Guard against NaN: a loss or gradient that is not finite must not update the weights.

It stops training, or with ``on_nonfinite=skip`` the update is skipped, as are the changes of the buffers.

The guard also sums up losses and gradient norms for the means that are logged. On the CPU every step is checked on the
host. On an accelerator that would force a synchronization, so the device skips the update itself and the host checks
only every ``CHECK_INTERVAL`` steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainer.engine.saved_buffers import SavedBuffers

CHECK_INTERVAL = 50
"""Steps between two synchronizations with an accelerator."""
MAX_SKIPPED_IN_ROW = 10
"""Updates of a parameter group in a row that are not finite and stop training also with ``on_nonfinite=skip``."""


class NonFiniteStepError(Exception):
    """Updates since the last check were skipped because of NaN or infinity, and no more may be."""


class NanGuard(ABC):
    """Base class: sums of losses and gradient norms since the last ``reset``.

    Args:
        max_skipped: Number of updates of a parameter group in a row at which training stops; 1: none is skipped.
    """

    def __init__(self, max_skipped: int = 1) -> None:
        self.max_skipped = max_skipped
        self.steps = 0

    @abstractmethod
    def update(self, loss: Tensor, norm: Tensor, group: str) -> Tensor | None:
        """Record one update before it is applied.

        Args:
            loss: Loss of the step, a scalar.
            norm: Norm of the gradient before clipping, a scalar.
            group: Name of the parameter group.

        Returns:
            Scalar on the device that is 1 if this update must be skipped; None if the host has found it finite.

        Raises:
            NonFiniteStepError: The host has found a value that is not finite, and it is the last one that may be.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise NonFiniteStepError if too many values so far were not finite; synchronizes with an accelerator."""

    @abstractmethod
    def totals(self) -> tuple[float, float]:
        """Return the sums of the finite losses and of the gradient norms before clipping."""

    @abstractmethod
    def skipped(self) -> dict[str, Any]:
        """Return the number of skipped updates, ``total``, and those in a row by parameter group, ``in_row``."""

    @abstractmethod
    def reset(self, sums: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> None:
        """Set the sums, by default to zero.

        Args:
            sums: Sums of losses and gradient norms, from ``totals``.
            steps: Number of updates in the sums.
        """

    @abstractmethod
    def load_skipped(self, skipped: Mapping[str, Any]) -> None:
        """Restore the result of ``skipped``."""

    @abstractmethod
    def count_steps(self) -> int:
        """Return the number of updates in the sums."""

    def compute_means(self) -> tuple[float, float]:
        """Return the mean loss and the mean gradient norm since the last ``reset``; NaN if there was no update."""
        (loss, norm), steps = self.totals(), self.count_steps()
        return (loss / steps, norm / steps) if steps else (math.nan, math.nan)

    def state_dict(self) -> dict[str, Any]:
        """Return the sums, and the numbers of skipped updates if there are any."""
        skipped = self.skipped()
        return {"sums": self.totals(), "steps": self.count_steps()} | (
            {"skipped": skipped} if any(skipped.values()) else {}
        )

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a state."""
        self.reset(tuple(state["sums"]), state["steps"])
        self.load_skipped(state.get("skipped", {"total": 0, "in_row": {}}))

    def save_buffers(self, task: nn.Module) -> SavedBuffers | None:
        """Return the buffers of a task if an update may be skipped: the loss changes those of batch norm.

        Args:
            task: The task, before the loss of an update is computed.
        """
        return None if self.max_skipped == 1 else SavedBuffers(task)


class CpuNanGuard(NanGuard):
    """Guard on the CPU, with sums as Python floats."""

    def __init__(self, max_skipped: int = 1) -> None:
        super().__init__(max_skipped)
        self.loss = self.norm = 0.0
        self.num_skipped = 0
        self.skipped_in_row: dict[str, int] = {}

    def update(self, loss: Tensor, norm: Tensor, group: str) -> Tensor | None:
        loss_value, norm_value = loss.item(), norm.item()
        if not math.isfinite(loss_value + norm_value):
            if self.max_skipped == 1:
                raise NonFiniteStepError
            self.num_skipped += 1
            self.skipped_in_row[group] = self.skipped_in_row.get(group, 0) + 1
            if self.skipped_in_row[group] >= self.max_skipped:
                raise NonFiniteStepError
            return torch.ones(())
        self.skipped_in_row.pop(group, None)
        self.loss += loss_value
        self.norm += norm_value
        self.steps += 1
        return None

    def check(self) -> None:
        return

    def totals(self) -> tuple[float, float]:
        return self.loss, self.norm

    def skipped(self) -> dict[str, Any]:
        return {"total": self.num_skipped, "in_row": dict(self.skipped_in_row)}

    def reset(self, sums: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> None:
        self.loss, self.norm = sums
        self.steps = steps

    def load_skipped(self, skipped: Mapping[str, Any]) -> None:
        self.num_skipped, self.skipped_in_row = skipped["total"], dict(skipped["in_row"])

    def count_steps(self) -> int:
        return self.steps


class DeviceNanGuard(NanGuard):
    """Guard on an accelerator, with sums that stay on the device between checks.

    Args:
        device: The accelerator.
        max_skipped: Number of updates of a parameter group in a row at which training stops; 1: none is skipped.
    """

    def __init__(self, device: torch.device, max_skipped: int = 1) -> None:
        super().__init__(max_skipped)
        self.total = torch.zeros(2, device=device)
        self.found_nonfinite = torch.zeros((), device=device)
        self.num_skipped = torch.zeros((), device=device)
        self.num_omitted = torch.zeros((), device=device)
        self.skipped_in_row: dict[str, Tensor] = {}

    def update(self, loss: Tensor, norm: Tensor, group: str) -> Tensor:
        values = torch.stack((loss, norm))
        is_nonfinite = stops = 1.0 - values.sum().isfinite().float()
        if self.max_skipped > 1:
            values = torch.where(is_nonfinite.bool(), torch.zeros_like(values), values)
            self.skipped_in_row[group] = (self.skipped_in_row.get(group, 0) + 1.0) * is_nonfinite
            stops = (self.skipped_in_row[group] >= self.max_skipped).float()
            self.num_skipped += is_nonfinite
            self.num_omitted += is_nonfinite
        else:  # those of a state: this update is finite, or ends training
            self.skipped_in_row.pop(group, None)
        self.total += values
        self.found_nonfinite = torch.maximum(self.found_nonfinite, stops)
        self.steps += 1
        if self.steps % CHECK_INTERVAL == 0:
            self.check()
        return self.found_nonfinite if self.max_skipped == 1 else torch.maximum(self.found_nonfinite, is_nonfinite)

    def check(self) -> None:
        if self.found_nonfinite.item():
            raise NonFiniteStepError

    def totals(self) -> tuple[float, float]:
        loss, norm = self.total.tolist()
        return loss, norm

    def skipped(self) -> dict[str, Any]:
        in_row = {group: int(count.item()) for group, count in self.skipped_in_row.items()}
        return {
            "total": int(self.num_skipped.item()),
            "in_row": {group: count for group, count in in_row.items() if count},
        }

    def reset(self, sums: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> None:
        self.total.copy_(torch.tensor(sums))
        self.num_omitted.zero_()
        self.steps = steps

    def load_skipped(self, skipped: Mapping[str, Any]) -> None:
        self.num_skipped.fill_(skipped["total"])
        self.skipped_in_row = {
            group: torch.full_like(self.num_skipped, float(count)) for group, count in skipped["in_row"].items()
        }

    def count_steps(self) -> int:
        return self.steps - int(self.num_omitted.item())


def make_nan_guard(device: torch.device, on_nonfinite: str) -> NanGuard:
    """Return the guard for a device.

    Args:
        device: Device of the training.
        on_nonfinite: ``stop`` or ``skip``.
    """
    max_skipped = 1 if on_nonfinite == "stop" else MAX_SKIPPED_IN_ROW
    return CpuNanGuard(max_skipped) if device.type == "cpu" else DeviceNanGuard(device, max_skipped)
