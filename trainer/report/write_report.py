"""``train report``: the leaderboard on the terminal, and the page of a run or of a directory of runs."""

from __future__ import annotations

import os
import time
from pathlib import Path

from trainer.analysis import run_record
from trainer.inference import classical_scores
from trainer.report import run_page, runs_page, search_page
from trainer.report.write_page import REPORT_FILE, render_page, write_page
from trainer.runs import leaderboard, run_dir, saved_run
from trainer.search import search_files
from trainer.utils.errors import ConfigError
from trainer.viz.console import print_line

WATCH_SECONDS = 2.0
"""Seconds between checks for new records of a run."""


def write_report(path: Path, output: Path | None = None) -> None:
    """Write the page of a run, or print the leaderboard of a directory and write its page.

    Args:
        path: Run directory, or a directory with runs.
        output: File to write; None for ``report.html`` in the directory.

    Raises:
        ConfigError: The directory does not exist.
        SystemFault: The page cannot be written.
    """
    output = output or path / REPORT_FILE
    if saved_run.is_run_dir(path):
        record = run_record.read_record(path)
        contents = run_page.make_run_page(record, _find_classical_scores(record))
        _save("run.html", contents, output)
        print_line(contents["verdict"])
    elif (path / search_files.SEARCH_FILE).is_file():
        contents = search_page.make_search_page(path, output.parent)
        _save("search.html", contents, output)
        print_line(contents["verdict"])
        print_line(contents["command"])
    else:
        leaderboard.show_leaderboard(path)
        _save("runs.html", runs_page.make_runs_page(path, output.parent), output)
    print_line(f"page: {output}")


def _find_classical_scores(record: run_record.RunRecord) -> classical_scores.SavedScores | None:
    """Return the scores of a classical model on the data of a finished run, which are computed for its first page."""
    if record.status != "finished" or record.results.get("debug") or not record.results.get("test"):
        return None
    if not classical_scores.may_have_scores(record.config.get("task._target_")):
        return None
    saved = classical_scores.read_scores(record.path, record.results)
    if saved is None:
        print_line("fitting a classical model on the training rows, once for this run")
    return saved or classical_scores.find_or_compute_scores(record.path, record.results)


def _save(template: str, contents: dict[str, object], output: Path) -> None:
    write_page(render_page(template, contents), output)


def watch_run(path: Path, output: Path | None = None) -> None:
    """Write the page of a run again whenever it has new records, until the run ends.

    Args:
        path: Run directory.
        output: File to write; None for ``report.html`` in the directory.

    Raises:
        ConfigError: The directory is not that of a run.
        SystemFault: The page cannot be written.
    """
    if not saved_run.is_run_dir(path):
        raise ConfigError(f"report watch=true: {path} is not a run directory; it follows a single run")
    print_line(f"page: {output or path / REPORT_FILE}, written again while the run goes on; Ctrl-C stops watching")
    written = None
    while True:
        is_running, state = run_record.is_locked(path), _get_state(path)
        if state != written:
            contents = run_page.make_run_page(run_record.read_record(path))
            _save("run.html", contents, output or path / REPORT_FILE)
            written = state
        if not is_running:
            print_line(str(contents["verdict"]))
            return
        time.sleep(WATCH_SECONDS)


def _get_state(path: Path) -> list[tuple[str, int, int]]:
    """Return size and time of the files that the page is made of."""
    names = (run_dir.RESULTS_FILE, run_dir.METRICS_FILE, run_dir.CONFIG_FILE)
    files = [path / name for name in names]
    return [(file.name, os.stat(file).st_size, os.stat(file).st_mtime_ns) for file in files if file.is_file()]
