"""Descriptions of losses and gradients that are not finite, and the restoring of the buffers that they have changed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from trainer.engine.saved_buffers import SavedBuffers
from trainer.engine.strategy import RowBatch
from trainer.utils.errors import NonFiniteError

if TYPE_CHECKING:
    from trainer.engine.param_group import ParamGroup
    from trainer.engine.trainer import Trainer

log = logging.getLogger(__name__)

MAX_SHOWN_ROWS = 8


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
    max_skipped = trainer.nan_guard.max_skipped
    repeated = "" if max_skipped == 1 else f"{max_skipped} updates in a row were not finite; the last one: "
    return NonFiniteError(
        f"{repeated}loss {loss.item():g}, gradient norm {norm.item():g} at {_format_position(trainer)}"
        f" ({group.name}, lr {group.lr:g}); the weights were not updated\n"
        f"{_format_rows(microbatches)}\n"
        f"{gradient}\n"
        f"{trainer.describe_last_checkpoint()}; try a smaller optimizer.lr or grad_clip=1"
    )


def restore_skipped(
    trainer: Trainer,
    group: ParamGroup,
    microbatches: Sequence[RowBatch],
    buffers: SavedBuffers,
    is_skipped: Tensor,
) -> None:
    """Restore the buffers of a task if an update is skipped, and log it if the host knows.

    Args:
        trainer: The trainer, for the position.
        group: Parameter group of the update.
        microbatches: Batches of the step.
        buffers: Result of ``NanGuard.save_buffers``.
        is_skipped: Result of ``NanGuard.update``.
    """
    buffers.restore(is_skipped)
    if is_skipped.device.type == "cpu":
        position = f"{_format_position(trainer)} ({group.name})"
        log.warning("loss or gradient not finite at %s: skipped; %s", position, _format_rows(microbatches))


def _format_rows(batches: Sequence[RowBatch]) -> str:
    rows = torch.cat([batch.index for batch in batches]).tolist()
    numbers = ", ".join(map(str, rows[:MAX_SHOWN_ROWS])) + (", ..." if len(rows) > MAX_SHOWN_ROWS else "")
    return f"rows of the batch: {numbers}"


def _format_position(trainer: Trainer) -> str:
    return f"step {trainer.step + 1}, epoch {trainer.epoch + 1}"  # counted from 1, as by progress and metrics
