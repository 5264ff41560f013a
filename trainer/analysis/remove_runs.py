"""Removal of run directories: never of what is not one, and never of a run that a process is writing."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from trainer.analysis.run_record import read_record
from trainer.runs import run_dir
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, UserError


def find_removable(paths: Sequence[Path]) -> list[Path]:
    """Return the real directories of runs that may be removed, each once.

    A link such as ``outputs/latest`` stands for the directory that it leads to.

    Args:
        paths: Directories of runs.

    Raises:
        ConfigError: One of them is not a run directory, contains other runs, or contains the working directory; all
            problems are reported, and nothing may be removed.
    """
    found: dict[Path, None] = {}
    problems: list[str] = []
    for path in paths:
        try:
            real = read_record(path).path.resolve()
            problems += _find_problems(path, real)
            found[real] = None
        except UserError as error:
            problems += [f"{error}; nothing is removed"]
    if problems:
        raise ConfigError(*problems)
    return [*found]


def _find_problems(path: Path, real: Path) -> list[str]:
    others = [file.parent for file in real.glob(f"*/**/{run_dir.RESULTS_FILE}")]
    others += [file.parent for file in real.glob(f"*/**/{run_dir.CHECKPOINT_FILES[0]}")]
    problems = []
    if others:
        problems.append(f"{path} contains another run, {others[0]}; nothing is removed")
    if Path.cwd().resolve().is_relative_to(real):
        problems.append(f"{path} contains the working directory; change to another one; nothing is removed")
    return problems


def count_bytes(path: Path) -> int:
    """Return the total size of the files below a directory; links are not followed.

    Args:
        path: The directory.
    """
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def remove_runs(paths: Sequence[Path]) -> None:
    """Remove run directories.

    All are locked before the first one is removed. Each is renamed first, so that an interrupted removal leaves no
    half of a run under its name. Links inside are removed, not followed.

    Args:
        paths: Result of ``find_removable``.

    Raises:
        RunInUseError: A process is writing one of them; none is removed.
        SystemFault: A file cannot be removed.
    """
    links = [link for path in paths for link in _find_latest_links(path)]
    with ExitStack() as stack:
        for path in paths:
            stack.enter_context(run_dir.lock_run(path))
        for path in paths:
            with atomic_write.catch_write_errors(path):
                hidden = path.with_name(f".{path.name}.{os.getpid()}.tmp")
                path.rename(hidden)
                shutil.rmtree(hidden)
    for link in links:
        with suppress(OSError):  # nothing depends on it
            link.unlink()
    for path in paths:
        _remove_empty_date(path.parent)


def _find_latest_links(path: Path) -> list[Path]:
    """Return ``outputs/latest`` if it leads to a run in ``outputs/DATE/TIME-...``."""
    link = path.parent.parent / run_dir.LATEST_LINK
    return [link] if link.is_symlink() and link.resolve() == path else []


def _remove_empty_date(parent: Path) -> None:
    """Remove the folder of a day without runs."""
    if parent.parent.name == run_dir.RUNS_ROOT:
        with suppress(OSError):  # it has other entries
            parent.rmdir()
