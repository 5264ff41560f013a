"""Disk space that the checkpoints of a run need, checked before its first step."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from trainer.engine.checkpoint import BEST, LAST, PREVIOUS, CheckpointManager
from trainer.engine.checkpoint_retention import is_retained
from trainer.utils import atomic_write
from trainer.utils.errors import SystemFault

log = logging.getLogger(__name__)


def count_state_bytes(state: Any) -> int:
    """Return the bytes of all tensors and strings in a nested state, with shared memory counted once, as when saved."""
    return sum(dict(_iter_storage_sizes(state)).values())


def _iter_storage_sizes(state: Any) -> Iterator[tuple[int, int]]:
    """Yield address and size of the memory of each tensor and string; numbers are too few to matter."""
    if isinstance(state, torch.Tensor):
        storage = state.untyped_storage()
        yield storage.data_ptr(), storage.nbytes()
    elif isinstance(state, str | bytes):
        yield id(state), len(state)
    items = (*state, *state.values()) if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    for item in items:
        yield from _iter_storage_sizes(item)


def check_disk_space(manager: CheckpointManager, state: dict[str, Any], total_steps: int) -> None:
    """Check before the first step whether the checkpoints of a run fit on the disk, and warn if not.

    They are two states, the best weights, a third state while it is written, and those that are kept besides.

    Args:
        manager: Manager of the checkpoints.
        state: State of the run.
        total_steps: Number of steps of the run.

    Raises:
        SystemFault: Not even one state and the best weights fit.
    """
    run_dir, retention = manager.run_dir, manager.retention
    shared_bytes = count_state_bytes(manager.shared_state)
    state_bytes, best_bytes = count_state_bytes(state) + shared_bytes, count_state_bytes(state["task"]) + shared_bytes
    existing_bytes = _count_existing_bytes(run_dir)
    free_bytes = atomic_write.get_free_bytes(run_dir)
    text = f"{free_bytes / 1e6:.1f} MB free in {run_dir}"
    if free_bytes < (state_bytes if existing_bytes else state_bytes + best_bytes):
        raise SystemFault(f"disk full: a checkpoint needs {(state_bytes + best_bytes) / 1e6:.1f} MB, {text}")
    num_states = max(2, retention.last) + (total_steps // retention.every if retention.every else 0)
    num_best = retention.best + (retention.best > 1)
    needed_bytes = (num_states + 1) * state_bytes + num_best * best_bytes - existing_bytes
    log.info("a checkpoint needs %.1f MB, %s", state_bytes / 1e6, text)
    if free_bytes < needed_bytes:
        log.warning(
            "%s; a checkpoint needs %.1f MB, and the checkpoints of this run will need %.1f MB",
            *(text, state_bytes / 1e6, needed_bytes / 1e6),
        )


def _count_existing_bytes(run_dir: Path) -> int:
    """Return the bytes of all checkpoints in a run directory; files with several names are counted once."""
    names = {LAST, PREVIOUS, BEST}
    entries = [entry for entry in os.scandir(run_dir) if entry.name in names or is_retained(entry.name)]
    return sum({entry.inode(): entry.stat().st_size for entry in entries}.values())
