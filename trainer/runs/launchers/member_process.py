"""The process of jobs that are trained together; it reports to the launcher by lines of a pipe."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import IO

from trainer.config.run_config import Config
from trainer.engine.member_probe import Verdict
from trainer.runs import initial_weights, matching_run, member_runs, run_dir
from trainer.runs.launchers import device_slots
from trainer.runs.sweep_job import Job
from trainer.utils import atomic_write
from trainer.utils.errors import UserError
from trainer.viz.console import console

TOGETHER = ""
"""Key of the line that says whether the jobs are trained together; other keys are run directories, with exit codes."""
MAX_NUMBERS = 200_000_000
"""Most parameters of all members of a process together; further members are trained afterwards."""


def run_share(jobs: Sequence[Job], writer: int, *, is_timed: bool) -> int:
    """Train jobs of a group together, if that is faster, and return the exit code of the process.

    Args:
        jobs: The jobs.
        writer: Descriptor of the pipe to the launcher.
        is_timed: Whether it must be faster, or only possible.
    """
    configs = [job.config for job in jobs if job.config is not None]
    with ExitStack() as stack:
        outputs = [stack.enter_context(_open_output(job)) for job in jobs]
        os.dup2(outputs[0].fileno(), 1)
        os.dup2(outputs[0].fileno(), 2)
        console.refresh_color_system()
        stack.enter_context(device_slots.occupy_devices(configs[0].settings, jobs[0].path.parent))
        try:
            shared = member_runs.build_shared_objects(configs[0])
            verdict = member_runs.choose_members(shared, configs, is_timed=is_timed)
        except Exception as error:  # each job reports its own error
            verdict = Verdict(False, f"{type(error).__name__} while they were prepared")
        _report(writer, TOGETHER, [verdict.is_joint, verdict.reason])
        if not verdict.is_joint:
            return 0
        digested = initial_weights.with_input_digests(configs[0])
        runs = [
            run
            for job, config, output in zip(jobs, configs, outputs, strict=True)
            if (run := _claim(_with_digests(config, digested), output, partial(_report_end, writer, job.path)))
        ]
        size = max(2, MAX_NUMBERS // sum(parameter.numel() for parameter in shared.task.parameters()))
        for start in range(0, len(runs), size):
            member_runs.train_together(runs[start : start + size], shared.data, draws_figures=False)
    return 0


def _open_output(job: Job) -> IO[str]:
    with atomic_write.catch_write_errors(job.output_path):
        return open(job.output_path, "w", encoding="utf-8", errors="backslashreplace", buffering=1)


def _with_digests(config: Config, digested: Config) -> Config:
    """Return a configuration with the digests of the inputs, which are those of the other jobs of the group."""
    return replace(
        config,
        fingerprint=digested.fingerprint,
        fingerprint_time=digested.fingerprint_time,
        source_digest=digested.source_digest,
    )


def _claim(config: Config, output: IO[str], on_end: member_runs.EndHook) -> member_runs.MemberRun | None:
    """Create or find the run directory of a job; None if that fails, which is reported."""
    path = Path(config.run_dir)
    try:
        if config.settings.resume == "auto" and matching_run.find_matching_run(config, path) == path:
            return member_runs.MemberRun(config, path, output, on_end)
        # A job resumes only in its own directory.
        settings = replace(config.settings, resume=None)
        claimed = run_dir.claim_run(config.run_dir, may_reuse=config.settings.resume == "auto")
        return member_runs.MemberRun(replace(config, settings=settings), claimed.path, output, on_end, claimed.lock)
    except UserError as error:
        print(error, file=output)
        on_end(error)
        return None


def _report_end(writer: int, path: Path, error: Exception | None) -> None:
    """Report the exit code of a job."""
    code = 0 if error is None else error.exit_code if isinstance(error, UserError) else 1
    _report(writer, str(path), code)


def _report(writer: int, key: str, value: object) -> None:
    os.write(writer, (json.dumps([key, value]) + "\n").encode())
