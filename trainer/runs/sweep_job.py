"""A job of a sweep: a run in a child process, and its outcome."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from trainer.config import secret_masking
from trainer.config.run_config import Config
from trainer.runs import run_dir
from trainer.runs.launchers import device_slots
from trainer.runs.results import Result
from trainer.utils import signals
from trainer.utils.errors import PAUSED_CODE, ConfigError, SystemFault, UserError
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
        status: waiting, refused, finished, interrupted, paused or failed.
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

    @property
    def state_dir(self) -> Path:
        """Directory with the attempts to run it."""
        return self.path.parent / run_dir.JOBS_DIR / self.path.name


def read_job_position(job: Job) -> tuple[str, Position | None]:
    """Read the position of a running job from its output."""
    try:
        with open(job.output_path, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return job.path.name, parse_position(file.read().decode("utf-8", "replace"))
    except OSError:
        return job.path.name, None


def train_job(config: Config, *, shares_devices: bool) -> int:
    """Run a job in this process, whose output is a file, and return its exit code.

    Args:
        config: Its configuration.
        shares_devices: Whether it must take a GPU that no other job of this machine uses.
    """
    from trainer.runs import train

    hide = partial(secret_masking.hide_values, tree=config.raw)
    path = Path(config.run_dir)
    # A job resumes only in its own directory: the leaderboard would lack a run of another directory.
    if config.settings.resume == "auto" and not path.is_dir():
        config = replace(config, settings=replace(config.settings, resume=None))
    devices = device_slots.occupy_devices(config.settings, path.parent) if shares_devices else nullcontext()
    try:
        console.refresh_color_system()
        with rewrite_output(hide), devices:
            train.run(config)
    except UserError as error:
        print(hide(str(error)))
        return error.exit_code
    except BaseException:
        print(hide(traceback.format_exc()), file=sys.stderr)
        return 1
    return 0


def job_outcome(job: Job, code: int, cause: str = "") -> tuple[str, str]:
    """Return status and reason of a job.

    Args:
        job: The job, which has ended.
        code: Its exit code; negative for a signal.
        cause: What its launcher knows about the cause.
    """
    if code in (0, PAUSED_CODE):
        return "paused" if code else "finished", ""
    if code < 0:
        # A stop signal kills a job that does not handle signals yet, because there is nothing to save.
        status = "interrupted" if -code in signals.STOP_SIGNALS else "failed"
        reason = cause or f"killed by {signals.describe_signal(-code)}"
        _record_outcome(job, status, reason)
        return status, reason
    results = run_dir.read_results(job.path)
    last_line = _read_last_line(job.output_path)
    status = "interrupted" if code in {128 + number for number in signals.STOP_SIGNALS} else "failed"
    # A job that fails before its run goes on leaves the results of the run as they were.
    saved_reason = results.get("reason") if results.get("status") == status else None
    return status, str(cause or saved_reason or last_line or f"exit code {code}")


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
