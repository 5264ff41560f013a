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
from pathlib import Path
from typing import Any

import torch

from trainer.errors import ConfigError, SystemFault, absence, nearest_folder

log = logging.getLogger(__name__)

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"

_NOT_OURS = (RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError, AssertionError)
"""What zipfile and torch's restricted unpickler stumble with over bytes that no ``torch.save`` has written.

zipfile raises RuntimeError for an archive that says it is encrypted, and its subclass NotImplementedError for one of
a version or a compression that it does not know; ValueError for a name that is not in its encoding.
"""


def save(state: dict[str, Any], path: Path) -> None:
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
        verify(temporary)
        if path.name == LAST and path.exists():
            _keep_previous(path)
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except (OSError, RuntimeError, ConfigError) as error:
        # After a failed write torch still tries to finish the archive, and raises about that instead.
        cause = error.__context__ if isinstance(error.__context__, OSError) else error
        reason = getattr(cause, "strerror", None) or cause
        written = temporary.stat().st_size if temporary.exists() else 0
        temporary.unlink(missing_ok=True)
        free = shutil.disk_usage(nearest_folder(path.parent)).free
        raise SystemFault(
            f"cannot write {path}: {reason};"
            f" {written / 1e6:.1f} MB written, {free / 1e6:.1f} MB free; {path.name} is as it was"
        ) from error


def _keep_previous(path: Path) -> None:
    """Gives the current last checkpoint a second name; the file under ``path`` never disappears."""
    previous = path.with_name(PREVIOUS)
    if previous.exists() and previous.samefile(path):
        return  # a crash after this and before the rename; renaming one name of a file to another does nothing at all
    link = path.with_name(f".{PREVIOUS}.{os.getpid()}.tmp")
    link.unlink(missing_ok=True)
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links: for a moment there is only the previous one
        link = path
    os.replace(link, previous)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def verify(path: Path) -> None:
    """Checks the zip structure and the checksum of every member.

    Raises ConfigError naming the file and what is wrong with it.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            # torch writes plain stored files. One flipped bit here makes torch see a folder, and a tensor of garbage.
            strange = [member.filename for member in archive.infolist() if member.external_attr or member.compress_type]
            broken = strange[0] if strange else archive.testzip()
    except (zipfile.BadZipFile, OSError, *_NOT_OURS) as error:
        raise ConfigError(f"{path} is not a whole checkpoint: {error}") from error
    if broken is not None:
        raise ConfigError(f"{path} is damaged: {broken} is not as it was written")


def load(path: Path) -> dict[str, Any]:
    """A checked state; tensors and plain values only.

    Raises ConfigError for a file that is missing, damaged, or holds anything that would have to be executed.
    """
    if not path.is_file():
        raise ConfigError(f"no checkpoint: {absence(path)}")
    verify(path)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, *_NOT_OURS) as error:
        raise ConfigError(f"{path} refused: {_refusal(error)}") from error
    if not isinstance(state, dict):
        raise ConfigError(f"{path} refused: it holds no training state")
    return state


def _refusal(error: Exception) -> str:
    """Why torch read no plain checkpoint, without its advice to read the file as code."""
    text = str(error)
    named = re.search(r"GLOBAL ([\w.]+)|Unsupported (?:global|class)[^\w]*([\w.]+)", text)
    if named:
        return f"it holds code ({named.group(1) or named.group(2)}), which is never run"
    if isinstance(error, pickle.UnpicklingError):
        return "it holds more than tensors and plain values, and nothing in a checkpoint is run"
    return f"it is not a plain checkpoint ({text.splitlines()[0] if text else type(error).__name__})"


def load_newest(folder: Path) -> dict[str, Any]:
    """The last good state of a run: ``last.pt``, or the one before with a warning if that is damaged or missing."""
    paths = [folder / name for name in (LAST, PREVIOUS)]
    if not any(path.exists() for path in paths):
        raise ConfigError(f"no checkpoint in {folder.absolute()}")
    problems: list[str] = []
    for path in paths:
        try:
            state = load(path)
        except ConfigError as error:
            problems.append(str(error))
            continue
        if problems:
            log.warning("%s; going on from %s", problems[0], path)
        return state
    raise ConfigError(*problems)


class RunKeeper:
    """Keeps the last two states and the best weights of a run in its folder."""

    def __init__(self, folder: Path, about: dict[str, Any]):
        self.folder = folder
        self.about = about
        self.last_saved_step: int | None = None
        sweep_leftovers(folder)

    def save(self, state: dict[str, Any], best: dict[str, Any] | None) -> None:
        # The best first: a last checkpoint never speaks of a best that is not on the disk.
        if best is not None:
            save(best | {"about": self.about}, self.folder / BEST)
        save(state | {"about": self.about}, self.folder / LAST)
        self.last_saved_step = state["position"]["step"]


class NoKeeper:
    """Keeps nothing, for a trainer used from Python."""

    last_saved_step: int | None = None

    def save(self, state: dict[str, Any], best: dict[str, Any] | None) -> None:
        return


def sweep_leftovers(folder: Path) -> None:
    """Removes half-written files that a killed run left behind."""
    for leftover in folder.glob(".*.tmp"):
        leftover.unlink()
