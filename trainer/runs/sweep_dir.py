"""Directory of a sweep: with ``resume=auto``, every command with the same jobs uses the same one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from trainer.config.run_config import Config
from trainer.runs import run_dir
from trainer.utils.exclusive_file import create_exclusive

RECORDS_DIR = ".sweeps"
"""Folder in the root of all runs with a file for each sweep, which names its directory."""


def find_sweep_dir(jobs: Sequence[tuple[str, Config]]) -> Path | None:
    """Return the directory in which an earlier or a simultaneous command runs the same jobs; None if there is none.

    Args:
        jobs: Name and configuration of each job, with the digests of its inputs.
    """
    records = sorted(_find_records(jobs), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    directories = (_read_record(path) for path in records)
    return next((path for path in directories if path is not None and path.is_dir()), None)


def claim_sweep_dir(jobs: Sequence[tuple[str, Config]], *, may_reuse: bool = True) -> Path:
    """Create a directory for jobs, or return that of a command which was faster.

    Args:
        jobs: Name and configuration of each job, with the digests of its inputs.
        may_reuse: Also use a directory of this name in which all jobs were killed before they saved anything; one that
            another command has just created looks like it.

    Raises:
        SystemFault: Nothing can be written.
    """
    _, config = jobs[0]
    path = run_dir.claim_dir(config.sweep_dir, run_dir.is_abandoned_sweep if may_reuse else None)
    if _create_record(jobs, path):
        return path
    other = find_sweep_dir(jobs)
    if other is None or other == path:
        return path
    with suppress(OSError):  # the directory of a killed sweep is not empty
        path.rmdir()
    return other


def record_sweep_dir(jobs: Sequence[tuple[str, Config]], path: Path) -> None:
    """Record a new directory as that of its jobs, so that later commands find it.

    Args:
        jobs: Name and configuration of each job, with the digests of its inputs.
        path: The directory.

    Raises:
        SystemFault: Nothing can be written.
    """
    while not _create_record(jobs, path):  # another command was faster
        pass


def _create_record(jobs: Sequence[tuple[str, Config]], path: Path) -> bool:
    """Create the next record of a sweep, and return whether no other command was faster."""
    number = 1 + max((int(record.name.rpartition("-")[2]) for record in _find_records(jobs)), default=-1)
    folder = run_dir.make_runs_root() / RECORDS_DIR
    folder.mkdir(exist_ok=True)
    return create_exclusive(folder / f"{_name_records(jobs)}-{number}", f"{path}\n")


def _find_records(jobs: Sequence[tuple[str, Config]]) -> list[Path]:
    return list(Path(run_dir.RUNS_ROOT, RECORDS_DIR).glob(f"{_name_records(jobs)}-*"))


def _name_records(jobs: Sequence[tuple[str, Config]]) -> str:
    """Return the name of the records of a sweep; they are hidden, because data may be in a folder above them."""
    text = json.dumps([(name, config.config_hash, config.exact_data_digest) for name, config in jobs])
    return f".{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"


def _read_record(path: Path) -> Path | None:
    try:
        return Path(path.read_text(encoding="utf-8").removesuffix("\n"))
    except (OSError, UnicodeDecodeError):
        return None
