"""Validation of the position of a state: its epoch, batch in the epoch, and step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer


def find_position_problems(state: Mapping[str, Any], trainer: Trainer) -> Iterator[str]:
    """Yield a position that a run of this length cannot have; with changed data the length may have been different.

    Args:
        state: The last state.
        trainer: The trainer, newly built.
    """
    epoch, batch, step = (state["position"][key] for key in ("epoch", "batch", "step"))
    settings, batches = trainer.settings, len(trainer.train_loader)
    per_epoch = -(-batches // settings.accumulate)
    whole_epochs_step = epoch * per_epoch + -(-batch // settings.accumulate)
    expected_step = min(trainer.total_steps, whole_epochs_step)
    is_stopped = state["should_stop"] and batch == 0
    first_step = 0 if is_stopped else whole_epochs_step - _count_continuations(state) * (per_epoch - 1)
    is_valid = step == expected_step or first_step <= step <= expected_step
    if not settings.allow_changed_data and (not is_valid or batch > batches or epoch > trainer.total_steps):
        yield f"position.step is {step}; after epoch {epoch} and batch {batch} it is {expected_step}"


def _count_continuations(state: Mapping[str, Any]) -> int:
    """Return how often a run was continued with changes: each may have skipped the rest of an epoch.

    Such a run may have ended inside an epoch, by ``max_steps`` or early stopping; the next one starts a new epoch.
    """
    return len({text.rpartition(" at step ")[2] for text in state["run_metadata"].get("changes", ())})
