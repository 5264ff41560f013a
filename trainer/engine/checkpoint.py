"""Saving and loading of checkpoints, atomic and without code.

A file is written under a temporary name, synced, verified and only then renamed, so that a crash at any point leaves
the previous file. Before loading, the checksums of all members are verified.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from trainer.config import migrations
from trainer.engine import checkpoint_nesting, checkpoint_retention, renamed_keys
from trainer.engine.checkpoint_retention import STATE_PREFIX, WEIGHTS_PREFIX, Retention
from trainer.engine.state_size import count_state_bytes
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.paths import describe_missing_path

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
FORMAT_VERSION = 7
"""Format version of both files.

Version 1 had no data; 1 and 2 (as ``format``) contain configurations of version 1. Before 3, optimizer states were flat
vectors (``resume.split_flat_states``); before 4, some parameters had other names (``renamed_state``);
before 5, some keys (``renamed_keys``); before 6, a key of the run metadata and of configurations (``migrations``);
before 7, configurations had no keys of decisions, and the best weights none.
"""
_CONFIG_VERSIONS = {1: 1, 2: 1, 3: 2, 4: 3, 5: 3, 6: 4}
"""Version of the configuration in earlier checkpoints."""

_LOAD_ERRORS = (RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError, AssertionError)
"""Exceptions that zipfile and the restricted unpickler of torch raise for invalid files.

zipfile raises RuntimeError for encrypted archives, its subclass NotImplementedError for unknown versions and
compression methods, and ValueError for names that cannot be decoded.
"""


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Save a state atomically: after a failure ``path`` is unchanged.

    Args:
        state: The state, of tensors and plain values.
        path: File to write. For ``last.pt``, the current file is kept as ``previous.pt``.

    Raises:
        SystemFault: The disk is full or the directory is not writable.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # With a Python file object the reason of a failed write is preserved.
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        verify_checkpoint(temporary)
        if path.name == LAST and path.exists():
            checkpoint_retention.link_file(path, path.with_name(PREVIOUS))
        os.replace(temporary, path)
        atomic_write.sync_to_disk(path.parent)
    except (OSError, RuntimeError, ConfigError) as error:
        # After a failed write torch still tries to finish the archive, which raises another exception.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or cause
        num_bytes = temporary.stat().st_size if temporary.exists() else 0
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SystemFault(
            f"cannot write {path}: {reason}; it needs {count_state_bytes(state) / 1e6:.1f} MB"
            f" ({num_bytes / 1e6:.1f} MB written), {atomic_write.get_free_bytes(path.parent) / 1e6:.1f} MB free;"
            f" {path.name} is unchanged"
        ) from error


def verify_checkpoint(path: Path) -> None:
    """Verify the zip structure of a file and the checksum of every member.

    Raises:
        ConfigError: The file is corrupt.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch stores members uncompressed. A flipped bit in these fields would make torch load garbage.
            invalid = [member.filename for member in archive.infolist() if member.external_attr or member.compress_type]
            problem = f"unexpected zip attributes of {invalid[0]}" if invalid else None
            if not invalid and (mismatch := archive.testzip()) is not None:
                problem = f"checksum mismatch in {mismatch}"
    except (zipfile.BadZipFile, OSError, *_LOAD_ERRORS) as error:
        raise ConfigError(f"{path} is not a complete checkpoint: {error}") from error
    if problem is not None:
        raise ConfigError(f"{path}: corrupt checkpoint: {problem}")


def load_checkpoint(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """Load and verify a state, which contains only tensors and plain values.

    Args:
        path: The file.
        mmap: Whether tensors are mapped from the file, which takes no memory but that of the pages in use.

    Raises:
        ConfigError: The file is missing or damaged, contains code, or is nested too deeply to be traversed.
    """
    if not path.is_file():
        raise ConfigError(f"no checkpoint: {describe_missing_path(path)}")
    verify_checkpoint(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except (pickle.UnpicklingError, *_LOAD_ERRORS) as error:
        raise ConfigError(f"{path} refused: {_describe_load_error(error)}") from error
    if not isinstance(state, dict):
        raise ConfigError(f"{path} refused: it contains no training state")
    checkpoint_nesting.check_nesting(state, path)
    return state


def _describe_load_error(error: Exception) -> str:
    """Describe why torch cannot load a checkpoint, without its advice to disable ``weights_only``."""
    text = str(error)
    match = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class)[^\w]*([\w.]+)", text)
    if match:
        return f"it contains code ({match.group(1) or match.group(2)}), which is never executed"
    if isinstance(error, pickle.UnpicklingError):
        return "it contains more than tensors and plain values, and code in a checkpoint is never executed"
    return f"it is not a plain checkpoint ({text.splitlines()[0] if text else type(error).__name__})"


def migrate_state(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """Convert a state to the current format.

    Args:
        state: State as loaded.
        path: Its file, for messages.

    Raises:
        ConfigError: The state has a later version, or contains what its version does not have.
    """
    state = dict(state) if migrations.KEY in state else {migrations.KEY: state.pop("format", 1)} | state
    version = migrations.check_version(state[migrations.KEY], path, FORMAT_VERSION)
    if version == 1 and "data" in state:
        raise ConfigError(f"{path}: it contains data, but format 1 has none; the file was edited")
    state[migrations.KEY] = FORMAT_VERSION
    if version == 1:
        state["data"] = None
    if version < 3 and "position" in state:  # the last state, not the best weights
        state |= {"should_stop": False, "callbacks": {}}
    if version < 7 and "position" not in state:
        if "decisions" in state:
            raise ConfigError(f"{path}: it contains decisions, but format {version} has none; the file was edited")
        state["decisions"] = {}
    key = "about" if version < 5 else "run_metadata"
    metadata = state.get(key)
    if version < FORMAT_VERSION and isinstance(metadata, dict) and isinstance(metadata.get("config"), dict):
        config = migrations.migrate_config(metadata["config"], _CONFIG_VERSIONS[version])
        state[key] = migrations.migrate_results(metadata) | {"config": config}
    return renamed_keys.rename_keys(state, path) if version < 5 else state


def has_checkpoint(run_dir: Path) -> bool:
    """Return whether a run directory contains a saved state."""
    return any((run_dir / name).exists() for name in (LAST, PREVIOUS))


def load_newest(run_dir: Path, *, fall_back: bool = True, mmap: bool = False) -> dict[str, Any]:
    """Load the last state of a run: ``last.pt``, or ``previous.pt`` with a warning if it is damaged or missing.

    Args:
        run_dir: The run directory.
        fall_back: Whether ``previous.pt`` may be loaded.
        mmap: As in ``load_checkpoint``.

    Raises:
        ConfigError: There is no valid state.
    """
    if not has_checkpoint(run_dir):
        raise ConfigError(f"no checkpoint in {run_dir.absolute()}")
    try:
        return load_checkpoint(run_dir / LAST, mmap=mmap)
    except ConfigError as error:
        problem = error
    previous = run_dir / PREVIOUS
    if not fall_back and previous.exists():
        raise ConfigError(
            *problem.problems,
            f"to resume from the state before it: mv {previous} {run_dir / LAST}; resume=auto does that by itself",
        )
    try:
        state = load_checkpoint(previous, mmap=mmap)
    except ConfigError as error:
        raise ConfigError(*problem.problems, *error.problems) from error
    log.warning("%s; resuming from %s", problem, previous)
    return state


class CheckpointManager:
    """Saves the last two states and the best weights of a run in its directory, and further ones by ``Retention``.

    Args:
        run_dir: The run directory; temporary files left by a crash are removed.
        run_metadata: Description of the run, saved in every file.
        data: State of the data set, saved in every file.
        retention: Which further checkpoints are retained.
    """

    def __init__(
        self,
        run_dir: Path,
        run_metadata: dict[str, Any],
        data: dict[str, Any] | None = None,
        retention: Retention | None = None,
    ):
        self.run_dir = run_dir
        self.shared_state = {migrations.KEY: FORMAT_VERSION, "run_metadata": run_metadata, "data": data}
        self.retention = retention or Retention()
        atomic_write.remove_leftovers(run_dir)

    @property
    def last_path(self) -> Path:
        """File of the last state."""
        return self.run_dir / LAST

    def save(self, state: dict[str, Any], best: dict[str, Any] | None, *, is_periodic: bool = False) -> None:
        """Save the last state, and the best weights if they have changed.

        Args:
            state: State of the trainer.
            best: Best weights with their scores; None if they have not changed.
            is_periodic: Whether the state may be retained, unlike that of an interruption or of the end.

        Raises:
            SystemFault: The disk is full or the directory is not writable.
        """
        # The best weights first: the last state must not refer to weights that are not on the disk.
        if best is not None:
            self.save_best(best)
        save_checkpoint(state | self.shared_state, self.last_path)
        if is_periodic:
            self._retain_state(state["position"]["step"])

    def save_best(self, best: dict[str, Any]) -> None:
        """Save the best weights."""
        save_checkpoint(best | self.shared_state, self.run_dir / BEST)

    def _retain_state(self, step: int) -> None:
        """Retain the last state under the name of its step, if it is one of those, and then remove outdated ones."""
        if not self.retention.retains_state(step):
            return
        path = checkpoint_retention.get_path(self.run_dir, STATE_PREFIX, step)
        with atomic_write.catch_write_errors(path):
            checkpoint_retention.link_file(self.last_path, path)
            atomic_write.sync_to_disk(self.run_dir)
        steps = checkpoint_retention.find_steps(self.run_dir, STATE_PREFIX)
        outdated = self.retention.select_outdated(steps, step)
        checkpoint_retention.remove_steps(self.run_dir, STATE_PREFIX, outdated)

    def save_ranked_weights(self, weights: dict[str, Any], step: int, ranked_steps: Sequence[int]) -> None:
        """Save weights that are among the best so far, and then remove those that no longer are.

        Args:
            weights: Weights with their scores.
            step: Their step.
            ranked_steps: Steps of all validations, best first.

        Raises:
            SystemFault: The disk is full or the directory is not writable.
        """
        save_checkpoint(weights | self.shared_state, checkpoint_retention.get_path(self.run_dir, WEIGHTS_PREFIX, step))
        outdated = set(checkpoint_retention.find_steps(self.run_dir, WEIGHTS_PREFIX)) - set(
            ranked_steps[: self.retention.best]
        )
        checkpoint_retention.remove_steps(self.run_dir, WEIGHTS_PREFIX, sorted(outdated))
