"""Run directories: claimed and locked by one process, found again by their results."""

from __future__ import annotations

import fcntl
import json
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from trainer.config import migrations
from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault

log = logging.getLogger(__name__)

RESULTS_FILE, CONFIG_FILE, METRICS_FILE, LOG_FILE, CURVES_FILE = (
    "results.json",
    "config.yaml",
    "metrics.csv",
    "train.log",
    "curves.png",
)
LOCK_FILE = ".lock"
JOB_OUTPUT_SUFFIX = ".out"
"""Suffix of the file next to a job's directory with the output of the job."""
JOBS_DIR = ".jobs"
"""Folder in the directory of a sweep with a folder for each job, which says who runs it."""
STARTUP_FILES = {LOCK_FILE, LOG_FILE, CONFIG_FILE, RESULTS_FILE}
CHECKPOINT_FILES = ("last.pt", "previous.pt")
"""Names of checkpoints, as in engine/checkpoint.py, known without importing torch."""
IDENTIFYING_FILES = (RESULTS_FILE, *CHECKPOINT_FILES)
"""Files that identify the run of a directory; the first may be lost."""
SCORE_GROUPS = ("val", "test", "baseline", "best_possible", "decisions")
"""Groups of scores in the results."""
RUNS_ROOT, LATEST_LINK, CLASSIFIERS_DIR = "outputs", "latest", "classifiers"
LOCK_POLL_SECONDS = 0.05
"""Seconds between attempts to take a lock that another process holds."""
LOCK_PROBE_SECONDS = 0.2
"""Seconds for which every lock is waited for: commands that list runs share it for an instant to test it."""


class ClaimedRunDir(NamedTuple):
    """A new run directory and its open lock, held by this process."""

    path: Path
    lock: IO[str]


def make_runs_root() -> Path:
    """Create the root directory of all runs if needed, and return it.

    Raises:
        SystemFault: The directory cannot be created.
    """
    try:
        Path(RUNS_ROOT).mkdir(exist_ok=True)
    except OSError as error:
        raise SystemFault(f"cannot create {Path(RUNS_ROOT).absolute()}: {error.strerror}") from error
    return Path(RUNS_ROOT)


def claim_dir(name: str, may_reuse: Callable[[Path], bool] | None = None) -> Path:
    """Create a new directory of this name, with a number appended if the name is taken.

    Args:
        name: Path of the directory.
        may_reuse: Decides whether an existing directory may be reused because nothing in it would be lost.

    Raises:
        SystemFault: Nothing can be written.
    """
    return next(
        path for path, is_new in _make_numbered_dirs(name) if is_new or (may_reuse is not None and may_reuse(path))
    )


def claim_run(name: str, *, may_reuse: bool = False) -> ClaimedRunDir:
    """Create a new run directory as ``claim_dir`` does, and lock it; ``lock_run`` takes over the lock.

    A directory created a moment ago looks like one whose run was killed; only the lock tells them apart.

    Args:
        name: Path of the directory.
        may_reuse: Also reuse a directory in which a run was killed before it saved anything.
    """
    for path, is_new in _make_numbered_dirs(name):
        if not is_new and not (may_reuse and is_abandoned_run(path)):
            continue
        try:
            file = _open_lock(path)
        except FileNotFoundError:  # its creator has removed it
            continue
        except OSError as error:
            raise atomic_write.make_write_error(path / LOCK_FILE, error) from error
        if _try_lock(file, path) and _is_current_lock(file, path) and is_abandoned_run(path):
            return ClaimedRunDir(path, file)
        file.close()
    raise AssertionError("the names end in an exception")


def _is_current_lock(file: IO[str], path: Path) -> bool:
    """Return whether an open lock belongs to the directory as it is now: it may have been deleted and created again."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path / LOCK_FILE))
    except FileNotFoundError:
        return False


def _make_numbered_dirs(name: str) -> Iterator[tuple[Path, bool]]:
    """Yield directories of this name, numbered from the second on, and whether each was just created."""
    for number in range(1000):
        path = Path(name if not number else f"{name}-{number + 1}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            yield path, False
        except OSError as error:
            raise SystemFault(f"cannot create {path.absolute()}: {error.strerror}") from error
        else:
            yield path, True
    raise SystemFault(f"too many runs named {name}; delete some of them, or set hydra.run.dir to another directory")


def is_abandoned_run(path: Path) -> bool:
    """Return whether a run was killed in this directory before it saved anything."""
    return path.is_dir() and not (path / RESULTS_FILE).exists() and _has_only_startup_files(path)


def is_abandoned_sweep(path: Path) -> bool:
    """Return whether all jobs of the sweep in this directory were killed before they saved anything."""
    return path.is_dir() and all(
        file.suffix == JOB_OUTPUT_SUFFIX or file.name == JOBS_DIR or is_abandoned_run(file) for file in path.iterdir()
    )


def _has_only_startup_files(path: Path) -> bool:
    """Return whether a directory holds only files that a run writes before training."""
    return all(file.name in STARTUP_FILES or file.match(atomic_write.TEMP_FILE_PATTERN) for file in path.iterdir())


class RunInUseError(ConfigError):
    """Another process holds the lock of a run directory."""


@contextmanager
def lock_run(path: Path, timeout: float = 0.0, lock: IO[str] | None = None) -> Iterator[None]:
    """Lock a run directory; the lock ends with the process, however it ends.

    Args:
        path: The run directory.
        timeout: Seconds to wait for a process that holds the lock.
        lock: Open lock of a directory that was claimed.

    Raises:
        RunInUseError: Another process, which is named, holds the lock.
        SystemFault: The directory cannot be written.
    """
    with atomic_write.catch_write_errors(path / LOCK_FILE):
        file = lock or _open_lock(path)
    try:
        _wait_for_lock(file, path, time.monotonic() + max(timeout, LOCK_PROBE_SECONDS))
        with atomic_write.catch_write_errors(path / LOCK_FILE):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield
    finally:
        with suppress(OSError):  # an earlier write error has already been raised
            file.close()


def _open_lock(path: Path) -> IO[str]:
    file = open(path / LOCK_FILE, "a+")  # noqa: SIM115
    # A child's copy of the descriptor would hold the lock for as long as the child lives.
    os.register_at_fork(after_in_child=file.close)
    return file


def _wait_for_lock(file: IO[str], path: Path, deadline: float) -> None:
    while not _try_lock(file, path):
        if time.monotonic() >= deadline:
            file.seek(0)
            holder = file.read().strip() or "?"
            raise RunInUseError(f"run directory {path} is in use by process {holder}")
        time.sleep(LOCK_POLL_SECONDS)


def _try_lock(file: IO[str], path: Path) -> bool:
    """Take a lock, also one already held here; False if another process holds it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("%s cannot be locked (%s): make sure that only one process writes to it", path, error.strerror)
    return True


def link_latest(path: Path) -> None:
    """Point ``outputs/latest`` at a run below ``outputs``, atomically; a file or directory of that name is kept."""
    link = Path(RUNS_ROOT) / LATEST_LINK
    target = os.path.relpath(path, RUNS_ROOT)
    if target.startswith(os.pardir) or (link.exists() and not link.is_symlink()):
        return
    temporary = link.with_name(f".{LATEST_LINK}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        temporary.symlink_to(target, target_is_directory=True)
        os.replace(temporary, link)
    except OSError as error:  # a file system without links: nothing depends on this one
        log.info("no link %s: %s", link, error.strerror)


def read_results(path: Path) -> dict[str, Any]:
    """Read ``results.json``, with NaN for null scores; empty if it cannot be read."""
    file = path / RESULTS_FILE
    if not os.path.isfile(file):  # such as a pipe, which would be waited for
        return {}
    try:
        results = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return parse_results(results) if isinstance(results, dict) else {}


def parse_results(results: Mapping[str, Any]) -> dict[str, Any]:
    """Return results with NaN for null scores, and with the current names of their keys."""
    scores = {name: results[name] for name in SCORE_GROUPS if isinstance(results.get(name), dict)}
    return migrations.migrate_results(results) | {
        name: {key: math.nan if value is None else value for key, value in values.items()}
        for name, values in scores.items()
    }


def remove_if_empty(path: Path) -> bool:
    """Remove a directory in which no training happened, and the parents created for it; return whether it was."""
    if not _has_only_startup_files(path):
        return False
    try:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        _remove_empty_parents(path)
    except OSError as error:
        log.info("%s stays: %s", path, error)
        return False
    return True


def remove_rejected(path: Path) -> None:
    """Remove the directory of a run that was rejected, with its files and the parents created for it."""
    try:
        shutil.rmtree(path)
        _remove_empty_parents(path)
    except OSError as error:
        log.info("%s stays: %s", path, error)


def _remove_empty_parents(path: Path) -> None:
    for parent in path.parents:
        if RUNS_ROOT not in parent.parts or any(parent.iterdir()):
            break
        parent.rmdir()
