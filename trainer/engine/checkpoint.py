"""Checkpoints that are whole or absent, and never code.

A file is written beside its final name, flushed to the disk, read back, and only then renamed: a crash at any point
leaves the file that was there before. Loading checks every byte before torch sees it.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from trainer.config import migrations
from trainer.engine import checkpoint_nesting
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.paths import describe_missing_path

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"
FORMAT_VERSION = 4
"""Format version of both files.

Version 1 had no data; 1 and 2 (as ``format``) hold configurations of version 1. Before 3, optimizer states were vectors
(``ParamGroup.name_vectors``); before 4, some parameters had other names (``renamed_state``).
"""
_CONFIG_VERSIONS = {1: 1, 2: 1, 3: 2}
"""Version of the configuration in earlier checkpoints."""

_LOAD_ERRORS = (RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError, AssertionError)
"""What zipfile and torch's restricted unpickler stumble with over bytes that no ``torch.save`` has written.

zipfile raises RuntimeError for an archive that says it is encrypted, and its subclass NotImplementedError for one of
a version or a compression that it does not know; ValueError for a name that is not in its encoding.
"""


def save_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Writes a state so that ``path`` holds either all of it or what it held before.

    Raises SystemFault when the disk is full or the folder cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        # A Python file object: through one, the reason of a failed write is not lost.
        with open(temporary, "wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        verify_checkpoint(temporary)
        if path.name == LAST and path.exists():
            _link_previous(path)
        os.replace(temporary, path)
        atomic_write.sync_to_disk(path.parent)
    except (OSError, RuntimeError, ConfigError) as error:
        # After a failed write torch still tries to finish the archive, and raises about that instead.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or cause
        written = temporary.stat().st_size if temporary.exists() else 0
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise SystemFault(
            f"cannot write {path}: {reason}; {written / 1e6:.1f} MB written,"
            f" {atomic_write.get_free_bytes(path.parent) / 1e6:.1f} MB free; {path.name} is as it was"
        ) from error


def _link_previous(path: Path) -> None:
    """Gives the current last checkpoint a second name; the file under ``path`` never disappears."""
    previous = path.with_name(PREVIOUS)
    if previous.exists() and previous.samefile(path):
        return  # a crash after this and before the rename; renaming one name of a file to another does nothing at all
    link = path.with_name(f".{PREVIOUS}.{os.getpid()}.tmp")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, link)
        atomic_write.sync_to_disk(link)
    os.replace(link, previous)


def verify_checkpoint(path: Path) -> None:
    """Checks the zip structure and the checksum of every member.

    Raises ConfigError naming the file and what is wrong with it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch writes plain stored files. One flipped bit here makes torch see a folder, and a tensor of garbage.
            strange = [member.filename for member in archive.infolist() if member.external_attr or member.compress_type]
            broken = strange[0] if strange else archive.testzip()
    except (zipfile.BadZipFile, OSError, *_LOAD_ERRORS) as error:
        raise ConfigError(f"{path} is not a whole checkpoint: {error}") from error
    if broken is not None:
        raise ConfigError(f"{path} is damaged: {broken} is not as it was written")


def load_checkpoint(path: Path) -> dict[str, Any]:
    """A checked state; tensors and plain values only.

    Raises ConfigError for a file that is missing, damaged, holds anything that would have to be executed, or what no
    walk over it would come to the end of.
    """
    if not path.is_file():
        raise ConfigError(f"no checkpoint: {describe_missing_path(path)}")
    verify_checkpoint(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *_LOAD_ERRORS) as error:
        raise ConfigError(f"{path} refused: {_describe_load_error(error)}") from error
    if not isinstance(state, dict):
        raise ConfigError(f"{path} refused: it holds no training state")
    checkpoint_nesting.check_nesting(state, path)
    return state


def _describe_load_error(error: Exception) -> str:
    """Why torch read no plain checkpoint, without its advice to read the file as code."""
    text = str(error)
    named = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class)[^\w]*([\w.]+)", text)
    if named:
        return f"it holds code ({named.group(1) or named.group(2)}), which is never run"
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors and plain values, and nothing in a checkpoint is run"
    return f"it is not a plain checkpoint ({text.splitlines()[0] if text else type(error).__name__})"


def migrate_state(state: dict[str, Any], path: Path) -> dict[str, Any]:
    """A state in today's format. Raises ConfigError for one of a later version."""
    state = dict(state) if migrations.KEY in state else {migrations.KEY: state.pop("format", 1)} | state
    version = migrations.check_version(state[migrations.KEY], path, FORMAT_VERSION)
    if version == 1 and "data" in state:
        raise ConfigError(f"{path}: it keeps data, and says to be of format 1, which kept none; the file was edited")
    state[migrations.KEY] = FORMAT_VERSION
    if version == 1:
        state["data"] = None
    if version < 3 and "position" in state:  # a last state
        state |= {"should_stop": False, "callbacks": {}}
    about = state.get("about")
    if version < FORMAT_VERSION and isinstance(about, dict) and isinstance(about.get("config"), dict):
        config = migrations.migrate_config(about["config"], _CONFIG_VERSIONS[version])
        state["about"] = migrations.rename_options(about) | {"config": config}
    return state


def has_checkpoint(folder: Path) -> bool:
    """Whether a run has saved a state."""
    return any((folder / name).exists() for name in (LAST, PREVIOUS))


def load_newest(folder: Path, *, fall_back: bool = True) -> dict[str, Any]:
    """The last good state of a run: ``last.pt``, or the one before with a warning if that is damaged or missing.

    Raises ConfigError if neither is good, or, without ``fall_back``, if the last is not.
    """
    if not has_checkpoint(folder):
        raise ConfigError(f"no checkpoint in {folder.absolute()}")
    try:
        return load_checkpoint(folder / LAST)
    except ConfigError as error:
        problem = error
    previous = folder / PREVIOUS
    if not fall_back and previous.exists():
        raise ConfigError(
            *problem.problems,
            f"to go on from the state before it: mv {previous} {folder / LAST}; resume=auto does so by itself",
        )
    try:
        state = load_checkpoint(previous)
    except ConfigError as error:
        raise ConfigError(*problem.problems, *error.problems) from error
    log.warning("%s; going on from %s", problem, previous)
    return state


def count_state_bytes(state: Any) -> int:
    """Bytes of all tensors and texts in a nested state, memory that some share counted once, as it is saved."""
    return sum(dict(_iter_storage_sizes(state)).values())


def _iter_storage_sizes(state: Any) -> Iterator[tuple[int, int]]:
    """Each piece of memory by its place, with its bytes; of plain values texts alone, for numbers are few."""
    if isinstance(state, torch.Tensor):
        storage = state.untyped_storage()
        yield storage.data_ptr(), storage.nbytes()
    elif isinstance(state, str | bytes):
        yield id(state), len(state)
    parts = (*state, *state.values()) if isinstance(state, dict) else state if isinstance(state, list | tuple) else ()
    for part in parts:
        yield from _iter_storage_sizes(part)


def check_disk_space(folder: Path, state: dict[str, Any], common: dict[str, Any]) -> None:
    """Looks, before the first step, whether a run's checkpoints will find room: two states, the best weights, and a
    third state while it is written.

    common: what each of them holds beside, as of the data.

    Raises SystemFault if not even one state fits; warns if not all of them do.
    """
    beside = count_state_bytes(common)
    whole, weights = count_state_bytes(state) + beside, count_state_bytes(state["task"]) + beside
    there = sum(path.stat().st_size for path in (folder / name for name in (LAST, PREVIOUS, BEST)) if path.exists())
    free = atomic_write.get_free_bytes(folder)
    text = f"{free / 1e6:.1f} MB free in {folder}"
    if free < (whole if there else whole + weights):
        raise SystemFault(f"disk full: a checkpoint needs {(whole + weights) / 1e6:.1f} MB, {text}")
    needed = 3 * whole + weights - there
    if free < needed:
        log.warning("%s; the checkpoints of this run will need %.1f MB", text, needed / 1e6)


class CheckpointManager:
    """Keeps the last two states and the best weights of a run in its folder.

    about, data: what both files say of the run and of its data.
    """

    def __init__(self, folder: Path, about: dict[str, Any], data: dict[str, Any] | None = None):
        self.run_dir = folder
        self.shared_state = {migrations.KEY: FORMAT_VERSION, "about": about, "data": data}
        atomic_write.remove_leftovers(folder)

    @property
    def last_path(self) -> Path:
        """The file of the last state."""
        return self.run_dir / LAST

    def save(self, state: dict[str, Any], best: dict[str, Any] | None) -> None:
        # The best first: a last checkpoint never speaks of a best that is not on the disk.
        if best is not None:
            self.save_best(best)
        save_checkpoint(state | self.shared_state, self.last_path)

    def save_best(self, best: dict[str, Any]) -> None:
        save_checkpoint(best | self.shared_state, self.run_dir / BEST)
