"""Removal of run directories: never of what is not one, nor of a run that a process writes or a search continues."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from trainer.analysis.run_record import RunRecord, find_records, read_record
from trainer.runs import run_dir
from trainer.runs.run_files import find_run_files
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, UserError


def find_removable(paths: Sequence[Path]) -> list[Path]:
    """Return the real directories of runs that may be removed, each once.

    A link such as ``outputs/latest`` stands for the directory that it leads to.

    Args:
        paths: Directories of runs.

    Raises:
        ConfigError: One of them is not a run directory, contains other runs or the working directory, or is paused by
            a search of which other runs stay; all problems are reported, and nothing may be removed.
    """
    found: dict[Path, RunRecord] = {}
    problems: list[str] = []
    for path in paths:
        try:
            record = read_record(path)
        except UserError as error:
            problems += [f"{error}; nothing is removed"]
        else:
            real = path.resolve()
            problems += _find_problems(path, real)
            found[real] = record
    problems += _find_paused(found)
    if problems:
        raise ConfigError(*problems)
    return [*found]


def _find_problems(path: Path, real: Path) -> list[str]:
    others = [file.parent for file in find_run_files(real, run_dir.IDENTIFYING_FILES, "*/**")]
    problems = []
    if others:
        problems.append(f"{path} contains another run, {others[0]}; nothing is removed")
    if Path.cwd().resolve().is_relative_to(real):
        problems.append(f"{path} contains the working directory; change to another one; nothing is removed")
    return problems


def _find_paused(records: Mapping[Path, RunRecord]) -> list[str]:
    """Describe paused runs that a search would continue: other runs of it stay.

    Args:
        records: The runs to be removed by real directory.
    """
    paused = {real: record for real, record in records.items() if record.status == "paused"}
    if not paused:
        return []
    from trainer.search.search_files import SEARCH_FILE

    problems = []
    others_by_search: dict[Path, int] = {}
    for real, record in paused.items():
        search = next((folder for folder in real.parents if (folder / SEARCH_FILE).is_file()), None)
        if search is None:
            continue
        if search not in others_by_search:
            others_by_search[search] = sum(each.path.resolve() not in records for each in find_records(search))
        if others_by_search[search]:
            problems.append(
                f"{record.path} is paused by the search in {search}, which may continue it; all runs of a search are"
                " removed together; nothing is removed"
            )
    return problems


def count_bytes(path: Path) -> int:
    """Return the total size of the files below a directory; links are not followed.

    Args:
        path: The directory.
    """
    return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(path) for name in names)


def remove_runs(paths: Sequence[Path]) -> None:
    """Remove run directories.

    All are locked before the first one is removed. Each is renamed first and loses the files that identify a run, so
    that an interrupted removal leaves no half of a run. Links inside are removed, not followed.

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
                for name in run_dir.IDENTIFYING_FILES:
                    (hidden / name).unlink(missing_ok=True)
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
