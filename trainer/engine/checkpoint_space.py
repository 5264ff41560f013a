"""Disk space that the checkpoints of a run need, checked before its first step."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.engine.checkpoint import BEST, LAST, PREVIOUS, CheckpointManager
from trainer.engine.checkpoint_retention import Retention, is_retained
from trainer.engine.state_size import count_state_bytes
from trainer.utils import atomic_write
from trainer.utils.errors import SystemFault

log = logging.getLogger(__name__)

MAX_AVERAGES = 2
"""Most averages of each weight that an optimizer of torch has, such as those of the gradient and of its square."""


@dataclass(frozen=True)
class FileCount:
    """Most files with different contents that a run has at once.

    Args:
        states: Number of states: the last two, those that are retained, and one that is being written.
        best: Number of files with best weights. None is larger than a state, and none is written at the same time.
    """

    states: int
    best: int


def count_files(retention: Retention, total_steps: int) -> FileCount:
    """Return the most files that a run has at once, however often it is interrupted.

    The last two states are others than those that are retained after two interruptions in a row, whose states are not.
    A retained state is a second name of a file; a file system without such names has one further copy for a moment.

    Args:
        retention: Which checkpoints are retained.
        total_steps: Number of steps of the run.
    """
    num_permanent = total_steps // retention.every if retention.every else 0
    num_last = retention.last if retention.last > 1 else 0
    return FileCount(2 + num_last + num_permanent + 1, retention.best + (retention.best > 1))


def check_disk_space(manager: CheckpointManager, state: dict[str, Any], total_steps: int) -> None:
    """Check before the first step whether the checkpoints of a run fit on the disk, and warn if not.

    Args:
        manager: Manager of the checkpoints.
        state: State of the run.
        total_steps: Number of steps of the run.

    Raises:
        SystemFault: Not even the next state fits, or the first one with the best weights.
    """
    run_dir = manager.run_dir
    shared_bytes = count_state_bytes(manager.shared_state)
    state_bytes, best_bytes = count_state_bytes(state) + shared_bytes, count_state_bytes(state["task"]) + shared_bytes
    existing_bytes = _count_existing_bytes(run_dir)
    free_bytes = atomic_write.get_free_bytes(run_dir)
    text = f"{free_bytes / 1e6:.1f} MB free in {run_dir}"
    smallest_need = state_bytes if existing_bytes else state_bytes + best_bytes
    if free_bytes < smallest_need:
        raise SystemFault(f"disk full: a checkpoint needs {smallest_need / 1e6:.1f} MB, {text}")
    state_bytes += _count_later_bytes(state)
    count = count_files(manager.retention, total_steps)
    needed_bytes = count.states * state_bytes + count.best * best_bytes - existing_bytes
    log.info("a checkpoint needs %.1f MB, %s", state_bytes / 1e6, text)
    if free_bytes < needed_bytes:
        log.warning(
            "%s; a checkpoint needs %.1f MB, and the checkpoints of this run will need %.1f MB",
            *(text, state_bytes / 1e6, needed_bytes / 1e6),
        )


def _count_later_bytes(state: dict[str, Any]) -> int:
    """Return the most bytes that optimizers add to a state in their first step, where those of torch create theirs."""
    optimizers = [group["optimizer"] for group in state.get("param_groups", {}).values()]
    is_empty = any("others" in each and not each["averages"] and not each["others"] for each in optimizers)
    return MAX_AVERAGES * count_state_bytes(state["task"]) if is_empty else 0


def _count_existing_bytes(run_dir: Path) -> int:
    """Return the bytes of all checkpoints in a run directory; files with several names are counted once."""
    names = {LAST, PREVIOUS, BEST}
    entries = [entry for entry in os.scandir(run_dir) if entry.name in names or is_retained(entry.name)]
    return sum({entry.inode(): entry.stat().st_size for entry in entries}.values())
