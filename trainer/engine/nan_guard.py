"""Guard against NaN: a loss or gradient that is not finite must not update the weights.

The guard also sums up losses and gradient norms for the means that are logged. On the CPU every step is checked on the
host. On an accelerator that would force a synchronization, so the device skips the update itself and the host checks
only every ``CHECK_INTERVAL`` steps.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.utils.errors import NonFiniteError

if TYPE_CHECKING:
    from trainer.engine.param_group import ParamGroup
    from trainer.engine.strategy import RowBatch
    from trainer.engine.trainer import Trainer

CHECK_INTERVAL = 50
"""Steps between two synchronizations with an accelerator."""
MAX_SHOWN_ROWS = 8


class NonFiniteStepError(Exception):
    """A loss or gradient since the last check was NaN or infinite; its update was skipped."""


class NanGuard(ABC):
    """Base class: sums of losses and gradient norms since the last ``reset``."""

    def __init__(self) -> None:
        self.steps = 0

    @abstractmethod
    def update(self, loss: Tensor, norm: Tensor) -> Tensor | None:
        """Record one update before it is applied.

        Args:
            loss: Loss of the step, a scalar.
            norm: Norm of the gradient before clipping, a scalar.

        Returns:
            Scalar on the device that is 1 if this and every later update must be skipped; None if the host has
            checked this update.

        Raises:
            NonFiniteStepError: The host has found a value that is not finite.
        """

    @abstractmethod
    def check(self) -> None:
        """Raise NonFiniteStepError if any value so far was not finite; synchronizes with an accelerator."""

    @abstractmethod
    def totals(self) -> tuple[float, float]:
        """Return the sums of the losses and of the gradient norms before clipping."""

    @abstractmethod
    def reset(self, sums: tuple[float, float] = (0.0, 0.0), steps: int = 0) -> None:
        """Set the sums, by default to zero.

        Args:
            sums: Sums of losses and gradient norms, from ``totals``.
            steps: Number of steps in the sums.
        """

    def compute_means(self) -> tuple[float, float]:
        """Return the mean loss and the mean gradient norm since the last ``reset``; NaN if there was no step."""
        loss, norm = self.totals()
        return (loss / self.steps, norm / self.steps) if self.steps else (math.nan, math.nan)


class CpuNanGuard(NanGuard):
    """Guard on the CPU, with sums as Python floats."""

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
    """Guard on an accelerator, with sums that stay on the device between checks.

    Args:
        device: The accelerator.
    """

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
    """Return the guard for a device."""
    return CpuNanGuard() if device.type == "cpu" else DeviceNanGuard(device)


def make_nonfinite_error(
    trainer: Trainer, group: ParamGroup, microbatches: Sequence[RowBatch], loss: Tensor, norm: Tensor
) -> NonFiniteError:
    """Return the error that describes an update that was skipped because its loss or gradient is not finite.

    Args:
        trainer: The trainer, for the position and the last checkpoint.
        group: Parameter group whose update was skipped.
        microbatches: Batches of the step.
        loss: Loss of the step.
        norm: Norm of the gradient, before clipping.
    """
    names = group.params.nonfinite_parameter_names(trainer.task.named_parameters())
    gradient = f"first non-finite gradient: {names[0]}" if names else "no single non-finite gradient"
    rows = torch.cat([batch.index for batch in microbatches]).tolist()
    row_numbers = ", ".join(map(str, rows[:MAX_SHOWN_ROWS])) + (", ..." if len(rows) > MAX_SHOWN_ROWS else "")
    return NonFiniteError(
        f"loss {loss.item():g}, gradient norm {norm.item():g} at step {trainer.step}, epoch {trainer.epoch + 1}"
        f" ({group.name}, lr {group.lr:g}); the weights were not updated\n"
        f"rows of the batch: {row_numbers}\n"
        f"{gradient}\n"
        f"{trainer.describe_last_checkpoint()}; try a smaller optimizer.lr or grad_clip=1"
    )
