"""A job of a sweep: a run in a child process, and its outcome."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trainer.config.run_config import Config
from trainer.runs import run_dir
from trainer.runs.launchers import device_slots
from trainer.runs.results import Result
from trainer.utils import atomic_write, signals
from trainer.utils.errors import ConfigError, SystemFault, UserError
from trainer.viz import score_tables
from trainer.viz.console import console, rewrite_output
from trainer.viz.progress_bar import Position, parse_position

TAIL_BYTES = 2000
"""Bytes at the end of the output of a job that are searched for its position."""


@dataclass
class Job:
    """Combination of a sweep, and its outcome.

    Args:
        config: Its configuration; None if the combination is incompatible.
        path: Its run directory.
        status: waiting, refused, finished, interrupted or failed.
        reason: Why it did not finish.
    """

    config: Config | None
    path: Path
    status: str
    reason: str = ""

    @property
    def output_path(self) -> Path:
        """File next to its directory with the output of the job."""
        return self.path.with_name(f"{self.path.name}{run_dir.JOB_OUTPUT_SUFFIX}")


def read_job_position(job: Job) -> tuple[str, Position | None]:
    """Read the position of a running job from its output."""
    try:
        with open(job.output_path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return job.path.name, parse_position(file.read().decode("utf-8", "replace"))
    except OSError:
        return job.path.name, None


def start_job(job: Job) -> int:
    """Start a job in a child process, with its output redirected to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        _detach_from_sweep(parent)
        code = _run_child(job)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _detach_from_sweep(parent: int) -> None:
    """Reset signal handlers, and end with SIGTERM when the sweep ends, so that the job saves its state."""
    for number in signals.STOP_SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)  # there is nothing to save until the run catches them
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOP_SIGNALS)
    signals.end_with_parent(parent, signal.SIGTERM)


def _run_child(job: Job) -> int:
    from trainer.config import secret_masking
    from trainer.runs import train

    assert job.config is not None
    hide = partial(secret_masking.hide_values, tree=job.config.raw)
    try:
        with atomic_write.catch_write_errors(job.output_path):
            output = os.open(job.output_path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        os.dup2(output, 1)
        os.dup2(output, 2)
        console.refresh_color_system()
        with rewrite_output(hide), device_slots.occupy_devices(job.config.settings, job.path.parent):
            train.run(job.config)
    except UserError as error:
        print(hide(str(error)))
        return error.exit_code
    except BaseException:
        print(hide(traceback.format_exc()), file=sys.stderr)
        return 1
    return 0


def job_outcome(job: Job, code: int) -> tuple[str, str]:
    """Return status and reason of a job.

    Args:
        job: The job, which has ended.
        code: Its exit code; negative for a signal.
    """
    if code == 0:
        return "finished", ""
    if code < 0:
        # A stop signal kills a job that does not handle signals yet, because there is nothing to save.
        status = "interrupted" if -code in signals.STOP_SIGNALS else "failed"
        reason = f"killed by {signals.describe_signal(-code)}"
        _record_outcome(job, status, reason)
        return status, reason
    saved_reason = run_dir.read_results(job.path).get("reason")
    last_line = _read_last_line(job.output_path)
    status = "interrupted" if code in {128 + number for number in signals.STOP_SIGNALS} else "failed"
    return status, str(saved_reason or last_line or f"exit code {code}")


def _read_last_line(path: Path) -> str:
    try:
        return "".join(path.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:])
    except OSError:
        return ""


def _record_outcome(job: Job, status: str, reason: str) -> None:
    """Write the outcome of a job that could not do so itself."""
    if run_dir.read_results(job.path).get("status") == "running":
        with suppress(ConfigError, SystemFault):  # the outcome is printed even if it cannot be written
            replace(Result.read(job.path), status=status, reason=reason).write()


def format_job_scores(job: Job) -> str:
    """Format the monitored validation score, and the test score in parentheses."""
    results = run_dir.read_results(job.path)
    name = results.get("monitor", "")
    val, test = (results.get(split, {}).get(name) for split in ("val", "test"))
    if val is None or test is None:
        return ""
    return (
        f"val {score_tables.format_metric_name(name)} {score_tables.format_number(val)}  (test "
        f"{score_tables.format_number(test)})"
    )
