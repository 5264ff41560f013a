"""Trials of runs: what a run costs, measured by its first steps in a child process that leaves no trace."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.engine.budget import Rate
from trainer.utils import child_python, cpu, signals
from trainer.utils.errors import UserError
from trainer.utils.signals import describe_signal

MAX_ERROR_CHARS = 2000


class TrialError(UserError):
    """A run that would be refused, or would fail in its first steps."""

    def __init__(self, message: str, exit_code: int):
        super().__init__(message)
        self.exit_code = exit_code


@dataclass(frozen=True)
class Trial:
    """What a trial has measured.

    Args:
        report: Report of the process, see ``trial_process``.
        started_at: Time by the clock of the report at which the process was started.
        exited_at: Time at which it no longer existed.
    """

    report: Mapping[str, Any]
    started_at: float
    exited_at: float

    @property
    def startup_seconds(self) -> float:
        """Seconds from the start of the process to the first step: imports, data, model."""
        return float(self.report["fit_start"]) - self.started_at

    @property
    def import_seconds(self) -> float:
        """Seconds of the start before the run: imports."""
        return float(self.report["imported_at"]) - self.started_at

    @property
    def final_seconds(self) -> float:
        """Seconds of everything after the last validation: test, decisions, figures."""
        return float(self.report["ended_at"]) - float(self.report["fit_end"])

    @property
    def exit_seconds(self) -> float:
        """Seconds in which the process ends: the interpreter frees every module, and the system its memory."""
        return max(0.0, self.exited_at - float(self.report["exit_start"]))

    @property
    def process_seconds(self) -> float:
        """Seconds of a process before and after its run, which the jobs of a sweep share."""
        return self.import_seconds + self.exit_seconds

    @property
    def rate(self) -> Rate:
        """Time that the parts of training take."""
        return Rate(**self.report["rate"])

    @property
    def loading_seconds(self) -> float:
        """Seconds of a budget that pass before the first step."""
        return self.startup_seconds - self.import_seconds + float(self.report["once"])

    def estimate_training_seconds(self, steps: int) -> float:
        """Return the time of training and validation.

        Args:
            steps: Number of steps.
        """
        return float(self.report["once"]) + self.rate.estimate_seconds(steps)

    def estimate_seconds(self, steps: int) -> float:
        """Return the time of a run, from the command to its end.

        Args:
            steps: Number of steps.
        """
        around_training = self.startup_seconds + self.final_seconds + self.exit_seconds
        return around_training + self.estimate_training_seconds(steps)

    def choose_steps(self, seconds: float) -> int:
        """Return the number of steps for which a budget lasts; 0 if it is too short for one.

        Args:
            seconds: The budget, which starts with the loading of the data.
        """
        return self.rate.choose_steps(seconds - self.loading_seconds)


def run_trial(overrides: Sequence[str], config_dirs: Sequence[Path], *, cpu_time: bool = False) -> Trial:
    """Run the first steps of a run and everything after them, in a temporary directory.

    Args:
        overrides: Overrides of the run.
        config_dirs: Directories with YAML files of the user.
        cpu_time: Count the time of the processors, for benchmarks on a machine that others use.

    Raises:
        TrialError: The run would be refused, or fail.
    """
    with (
        tempfile.TemporaryDirectory(prefix="train-plan-", ignore_cleanup_errors=True) as name,
        signals.capture_signals() as flag,
        flag.remove_on_exit(Path(name)),
    ):
        folder = Path(name)
        (folder / "run").mkdir()
        request = {
            "overrides": list(overrides),
            "config_dirs": [str(path) for path in config_dirs],
            "folder": name,
            "output": str(folder / "report.json"),
            "parent": os.getpid(),
            "cpu_time": cpu_time,
        }
        clock = cpu.read_child_cpu_seconds if cpu_time else time.monotonic
        started_at = clock()
        process = subprocess.Popen(
            child_python.make_command("trainer.analysis.trial_process"),
            env=os.environ | child_python.list_path_variables(),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        try:
            _, errors = process.communicate(json.dumps(request))
        finally:  # Ctrl-C
            process.kill()
            process.wait()
        exited_at = clock()
        if process.returncode:
            raise TrialError(_describe_failure(process.returncode, errors), 1)
        report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    if "error" in report:
        raise TrialError(report["error"], report["exit_code"])
    # The clock of the processors starts at 0 in each process.
    return Trial(report, 0.0, exited_at - started_at) if cpu_time else Trial(report, started_at, exited_at)


def _describe_failure(code: int, errors: str) -> str:
    """Return how a trial has ended that could not report it."""
    if code < 0:
        return f"the trial was killed by {describe_signal(-code)}"
    return f"the trial has failed: {errors.strip()[-MAX_ERROR_CHARS:]}"
