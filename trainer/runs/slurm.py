"""Runs inside a Slurm job: on the warning before a time limit they save their state and requeue the job.

The warning is SIGUSR1 (``#SBATCH --signal=USR1@120``). The job that Slurm starts again has the same command line, which
with ``resume=auto`` continues the run.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from trainer.utils.errors import Interrupted

REQUEUE_SECONDS = 60
"""Maximum seconds for Slurm to answer."""


@contextmanager
def requeue_on_warning(*, is_resumable: bool) -> Iterator[None]:
    """Requeue the Slurm job of this process if the block was stopped by the warning; print what happens.

    Args:
        is_resumable: Whether the same command line continues what was stopped.

    Raises:
        Interrupted: The block was stopped.
    """
    try:
        yield
    except Interrupted as error:
        job = find_slurm_job()
        if error.is_early_warning and job is not None:
            print(
                _requeue(job) if is_resumable else f"Slurm job {job}: not requeued without resume=auto", file=sys.stderr
            )
        raise


def find_slurm_job() -> str | None:
    """Return the id of the Slurm job, or of the task of a job array, that this process leads; None if there is none."""
    if os.environ.get("SLURM_PROCID", "0") != "0":  # one of several processes, of which the first acts
        return None
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def _requeue(job: str) -> str:
    """Requeue a job, which ends this process soon, and return a message."""
    command = ["scontrol", "requeue", job]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=REQUEUE_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"Slurm job {job}: cannot be requeued: {error}"
    if done.returncode:
        return f"Slurm job {job}: cannot be requeued: {' '.join(done.stderr.split())}"
    return f"Slurm job {job}: requeued; it continues with the same command line"
