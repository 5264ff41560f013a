"""What a run directory records about its run, in whatever state the run is: finished, failed or killed."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.analysis import tags
from trainer.runs import hub_folder, metrics_file, recovery, results, run_dir, saved_run
from trainer.runs.run_files import find_run_files
from trainer.utils.errors import ConfigError, UserError
from trainer.utils.paths import describe_missing_path

ENDED_STATUSES = ("finished", "interrupted", "paused", "failed")


@dataclass(frozen=True)
class RunRecord:
    """A run directory with its results.

    Args:
        path: The directory.
        results: Contents of ``results.json``, of the expected types.
    """

    path: Path
    results: Mapping[str, Any]

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """Configuration by dotted key, without values from the environment; empty if it cannot be read."""
        try:
            raw, _ = saved_run.read_config(self.path)
        except ConfigError:
            return {}
        return dict(flatten_keys(raw))

    @cached_property
    def status(self) -> str:
        """Waiting, running, finished, interrupted, paused, failed; or killed, if it ended without recording how."""
        recorded = str(self.results["status"])
        return recorded if recorded in ENDED_STATUSES or is_locked(self.path) else "killed"

    @cached_property
    def started_at(self) -> str:
        """Local time of the first line of the log, as in ``2026-01-31 12:00:00``; else that of the oldest file."""
        try:
            with open(self.path / run_dir.LOG_FILE, encoding="utf-8", errors="replace") as file:
                text = file.readline()[:19]
            datetime.strptime(text, "%Y-%m-%d %H:%M:%S")
        except (OSError, ValueError):
            times = [file.stat().st_mtime for file in self.path.glob("*.*") if file.is_file()]
            return datetime.fromtimestamp(min(times, default=0.0)).strftime("%Y-%m-%d %H:%M:%S")
        return text

    @cached_property
    def tags(self) -> list[str]:
        """Tags of the run."""
        return tags.read_tags(self.path)

    @cached_property
    def history(self) -> list[dict[str, float]]:
        """Rows of ``metrics.csv``, one for each validation; empty if it cannot be read."""
        return metrics_file.read_history(self.path / run_dir.METRICS_FILE)

    @property
    def monitor(self) -> str:
        """Name of the monitored metric; empty for a run that ended before it was known."""
        return str(self.results.get("monitor") or "")


def read_record(path: Path) -> RunRecord:
    """Read the record of a run directory.

    Raises:
        ConfigError: It is not a run directory, or its results have wrong types.
    """
    if not saved_run.is_run_dir(path) or hub_folder.is_hub_folder(path):
        missing = f"{describe_missing_path(path)}{saved_run.suggest_run_dir(path)}"
        reason = "a hub folder" if hub_folder.is_hub_folder(path) else missing
        raise ConfigError(f"{path} is not a run directory: {reason}")
    return RunRecord(path, vars(results.Result.read(path)))


def find_records(root: Path, folder: str = "**") -> list[RunRecord]:
    """Find the runs below a directory, the newest first; directories that are not those of runs are left out.

    Args:
        root: A directory, which may itself be that of a run.
        folder: Pattern of the directories of the runs, relative to it.
    """
    files = sorted(find_run_files(root, run_dir.IDENTIFYING_FILES, folder), reverse=True)
    paths = {file.parent.resolve(): file.parent for file in files}
    found = (_read_or_none(path) for path in paths.values())
    return sorted((each for each in found if each), key=lambda each: (each.started_at, str(each.path)), reverse=True)


def find_siblings(record: RunRecord) -> list[RunRecord]:
    """Find the other runs next to a run: those of its day; for a job of a sweep, those of the sweeps of its day.

    Folders further down are not searched: the parent may be any folder of the user.

    Args:
        record: The run.
    """
    own = record.path.resolve()
    is_job = (own.parent / run_dir.JOBS_DIR).is_dir()
    found = find_records(own.parent.parent, "*/*") if is_job else find_records(own.parent, "*")
    return [each for each in found if each.path.resolve() != own]


def _read_or_none(path: Path) -> RunRecord | None:
    try:
        values = recovery.read_results(path)
    except UserError:  # a hub folder that cannot be read
        return None
    if not values or results.find_problems(values):
        return None
    return RunRecord(path, values | {"run_dir": str(path)})


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of a run directory."""
    try:
        with open(path / run_dir.LOCK_FILE, encoding="utf-8") as file:
            # A shared lock can be taken unless a process holds the exclusive one, and is given back at once.
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def flatten_keys(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted key; empty mappings are values.

    Args:
        node: Nested mappings.
        prefix: Start of every key.
    """
    for key, value in node.items():
        if isinstance(value, Mapping) and value:
            yield from flatten_keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
