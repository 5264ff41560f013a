"""Search for the newest run whose results match."""

from __future__ import annotations

import glob
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from trainer.runs import recovery, run_dir
from trainer.runs.run_files import find_run_files


def find_run(matches: Callable[[dict[str, Any]], bool], preferred: Path, name: str | None = None) -> Path | None:
    """Find the newest run whose results match, unfinished ones first; None if there is none.

    Args:
        matches: Predicate on the results of a run, which are empty if they cannot be read.
        preferred: Only this directory is searched if it exists, else all runs.
        name: Name that the directory must have.
    """
    pattern = f"**/{glob.escape(name)}" if name else "**"
    files = find_run_files(Path(run_dir.RUNS_ROOT), run_dir.IDENTIFYING_FILES, pattern)
    paths = [preferred] if os.path.isdir(preferred) else dict.fromkeys(file.parent for file in files)
    runs = {path: recovery.read_results(path) for path in paths}
    # The directory may have been moved since its results were written.
    matching = [path for path, results in runs.items() if matches(results and results | {"run_dir": str(path)})]
    return max(matching, key=lambda path: (runs[path].get("status") != "finished", _last_modified(path)), default=None)


def _last_modified(path: Path) -> int:
    return max((file.stat().st_mtime_ns for name in run_dir.IDENTIFYING_FILES for file in path.glob(name)), default=0)
