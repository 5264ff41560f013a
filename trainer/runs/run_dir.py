"""The folder of a run: claimed by one process, found again by what is trained in it."""

from __future__ import annotations

import fcntl
import glob
import json
import logging
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from trainer.utils import atomic_write
from trainer.utils.errors import ConfigError, SystemFault
from trainer.utils.log_filter import PrintableFilter

log = logging.getLogger(__name__)

RESULTS_FILE, CONFIG_FILE, METRICS_FILE, LOG_FILE, CURVES_FILE = (
    "results.json",
    "config.yaml",
    "metrics.csv",
    "train.log",
    "curves.png",
)
LOCK_FILE = ".lock"
_KEY_PATTERN = re.compile(r"[+~]*\w[\w.]*", re.ASCII)
JOB_OUTPUT_SUFFIX = ".out"
"""Ending of the file beside a job's folder that holds what the job prints."""
STARTUP_FILES = {LOCK_FILE, LOG_FILE, CONFIG_FILE, RESULTS_FILE}
CHECKPOINT_FILES = ("last.pt", "previous.pt")
"""What checkpoint.py calls them; a name is known without torch."""
IDENTIFYING_FILES = (RESULTS_FILE, *CHECKPOINT_FILES)
"""Files that tell what is trained in a folder; the first may be lost."""
SCORE_GROUPS = ("val", "test", "baseline", "best_possible")
"""Scores by name in the file of results."""
RUNS_ROOT, LATEST_LINK, CLASSIFIERS_DIR = "outputs", "latest", "classifiers"
LOCK_POLL_SECONDS = 0.05
"""Seconds between looks at a lock that another process holds."""


class ClaimedRunDir(NamedTuple):
    """The folder of a run that is to begin, and its open lock, which this process holds."""

    path: Path
    lock: IO[str]


def make_runs_root() -> Path:
    """The folder of all runs, made if it is not there. Raises SystemFault where nothing can be written."""
    try:
        Path(RUNS_ROOT).mkdir(exist_ok=True)
    except OSError as error:
        raise SystemFault(f"cannot create {Path(RUNS_ROOT).absolute()}: {error.strerror}") from error
    return Path(RUNS_ROOT)


def is_path(word: str) -> bool:
    """Whether a word of a command line is a path and not ``key=value``: a job of a sweep is named by its values."""
    key, equals, _ = word.partition("=")
    return not equals or not _KEY_PATTERN.fullmatch(key) or os.path.isdir(word)


def claim_dir(wanted: str, may_reuse: Callable[[Path], bool] | None = None) -> Path:
    """A new folder of that name; with a number behind it if another run already has it.

    ``may_reuse`` tells of a folder that is there whether nothing in it could be missed.

    Raises SystemFault where nothing can be written.
    """
    return next(
        path for path, is_new in _make_numbered_dirs(wanted) if is_new or (may_reuse is not None and may_reuse(path))
    )


def claim_run(wanted: str, *, may_reuse: bool = False) -> ClaimedRunDir:
    """As ``claim_dir``, of a run, with the lock of its folder: ``lock_run`` goes on with it.

    A folder that was made a moment ago looks like one whose run was killed; the lock alone tells them apart.
    ``may_reuse``: also a folder in which a run was killed before it could say what it is.
    """
    for path, is_new in _make_numbered_dirs(wanted):
        if not is_new and not (may_reuse and is_abandoned_run(path)):
            continue
        try:
            file = _open_lock(path)
        except FileNotFoundError:  # whoever made it has taken it back
            continue
        except OSError as error:
            raise atomic_write.make_write_error(path / LOCK_FILE, error) from error
        if _try_lock(file, path) and _is_current_lock(file, path) and is_abandoned_run(path):
            return ClaimedRunDir(path, file)
        file.close()
    raise AssertionError("the names end in an exception")


def _is_current_lock(file: IO[str], path: Path) -> bool:
    """Whether an open lock is that of the folder as it is now, which may have been removed and made anew."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path / LOCK_FILE))
    except FileNotFoundError:
        return False


def _make_numbered_dirs(wanted: str) -> Iterator[tuple[Path, bool]]:
    """Folders of that name, with a number behind it from the second on, and whether each was made just now."""
    for number in range(1000):
        path = Path(wanted if not number else f"{wanted}-{number + 1}")
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            yield path, False
        except OSError as error:
            raise SystemFault(f"cannot create {path.absolute()}: {error.strerror}") from error
        else:
            yield path, True
    raise SystemFault(f"a thousand runs are called {wanted}")


def is_abandoned_run(path: Path) -> bool:
    """Whether it is a folder in which a run was killed before it could say what it is."""
    return path.is_dir() and not (path / RESULTS_FILE).exists() and _has_only_startup_files(path)


def is_abandoned_sweep(path: Path) -> bool:
    """Whether it is the folder of a sweep all whose jobs were killed before they could say what they are."""
    return path.is_dir() and all(file.suffix == JOB_OUTPUT_SUFFIX or is_abandoned_run(file) for file in path.iterdir())


def _has_only_startup_files(path: Path) -> bool:
    """Whether a folder holds nothing but what a run writes before it trains: nothing that could be missed."""
    return all(file.name in STARTUP_FILES or file.match(atomic_write.TEMP_FILE_PATTERN) for file in path.iterdir())


class RunInUseError(ConfigError):
    """Another process works in a run folder."""


@contextmanager
def lock_run(path: Path, patience: float = 0.0, lock: IO[str] | None = None) -> Iterator[None]:
    """Keeps other processes out of a run folder; the lock ends with the process, however it ends.

    ``lock``: of a folder that was claimed. ``patience``: seconds to wait for a process that holds it. Raises InUse
    naming that process, SystemFault where the folder cannot be written.
    """
    with atomic_write.catch_write_errors(path / LOCK_FILE):
        file = lock or _open_lock(path)
    try:
        _wait_for_lock(file, path, time.monotonic() + patience)
        with atomic_write.catch_write_errors(path / LOCK_FILE):
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
        yield
    finally:
        with suppress(OSError):  # what could not be written before cannot be written now
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
            raise RunInUseError(f"run folder {path} is in use by process {holder}")
        time.sleep(LOCK_POLL_SECONDS)


def _try_lock(file: IO[str], path: Path) -> bool:
    """Takes a lock, again if it is held here already; False if another process has it."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        log.warning("%s cannot be locked (%s): see that one process alone writes to it", path, error.strerror)
    return True


def link_latest(path: Path) -> None:
    """Makes ``outputs/latest`` lead to a run below ``outputs``, in one step; a file or folder of that name stays."""
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
    """What a run last said of itself, with NaN for a score that JSON has no number for; empty if it never did."""
    try:
        found = json.loads((path / RESULTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(found, dict):
        return {}
    scores = {name: found[name] for name in SCORE_GROUPS if isinstance(found.get(name), dict)}
    return found | {
        name: {key: math.nan if value is None else value for key, value in values.items()}
        for name, values in scores.items()
    }


def find_run(is_wanted: Callable[[dict[str, Any]], bool], preferred: Path, name: str | None = None) -> Path | None:
    """The newest run whose results are wanted, unfinished ones first; None if there is none.

    Looked for in ``preferred`` if there is such a folder, else everywhere; ``name`` is one its folder must have.
    """
    from trainer.runs import recovery

    pattern = f"**/{glob.escape(name)}" if name else "**"
    every = (file for known in IDENTIFYING_FILES for file in Path(RUNS_ROOT).glob(f"{pattern}/{known}"))
    places = [preferred] if os.path.isdir(preferred) else dict.fromkeys(file.parent for file in every)
    runs = {path: recovery.read_results(path) for path in places}
    # A folder may have been moved since its results were written.
    mine = [path for path, results in runs.items() if is_wanted(results and results | {"folder": str(path)})]
    return max(mine, key=lambda path: (runs[path].get("status") != "finished", _last_modified(path)), default=None)


def _last_modified(path: Path) -> int:
    return max((file.stat().st_mtime_ns for known in IDENTIFYING_FILES for file in path.glob(known)), default=0)


class RunLogHandler(logging.FileHandler):
    """A log file in which every line counts: one that cannot be written is a fault like that of any other file."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            raise atomic_write.make_write_error(Path(self.baseFilename), error) from error
        super().handleError(record)

    def close(self) -> None:
        with suppress(OSError):  # what could not be written before cannot be written now
            super().close()


class _RewritingFormatter(logging.Formatter):
    """Lines of a log, their tracebacks too, each changed before it is written."""

    def __init__(self, change: Callable[[str], str]):
        super().__init__("%(asctime)s %(levelname)s %(message)s")
        self._change = change

    def format(self, record: logging.LogRecord) -> str:
        return self._change(super().format(record))


@contextmanager
def log_to_file(path: Path, change: Callable[[str], str] = str) -> Iterator[None]:
    """Sends this package's log to the run's own file, each line changed. Raises SystemFault if it is not writable."""
    with atomic_write.catch_write_errors(path / LOG_FILE):
        handler = RunLogHandler(path / LOG_FILE, encoding="utf-8")
    handler.addFilter(PrintableFilter())
    handler.setFormatter(_RewritingFormatter(change))
    logger = logging.getLogger("trainer")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        handler.close()


def remove_if_empty(path: Path) -> bool:
    """Takes back a folder in which no training happened, with those above it that were made for it; tells if it did."""
    if not _has_only_startup_files(path):
        return False
    try:
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
        for parent in path.parents:
            if RUNS_ROOT not in parent.parts or any(parent.iterdir()):
                break
            parent.rmdir()
    except OSError as error:
        log.info("%s stays: %s", path, error)
        return False
    return True
