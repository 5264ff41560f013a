"""Program of a job that is no fork of the sweep: ``python -m trainer.runs.launchers.job_process FOLDER PARENT``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from trainer.utils import signals
from trainer.utils.errors import UserError
from trainer.utils.gc_pause import pause_gc

SHARES_DEVICES = "--shares-devices"
"""Flag of a job that must take a GPU which no other job of its machine uses."""


def main(arguments: list[str]) -> int:
    """Run a job and return its exit code.

    Args:
        arguments: Directory of the job, process id of the parent, and maybe ``SHARES_DEVICES``.
    """
    job_dir, parent, *flags = arguments
    # The job saves its state when the process that watches it ends.
    signals.end_with_parent(int(parent), signal.SIGTERM)
    with pause_gc(freeze=True):
        from trainer.runs.launchers.job_file import read_job_file
        from trainer.runs.sweep_job import train_job
    try:
        config = read_job_file(Path(job_dir))
    except UserError as error:
        print(error)
        return error.exit_code
    return train_job(config, shares_devices=SHARES_DEVICES in flags)


if __name__ == "__main__":
    code = main(sys.argv[1:])
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # at once, like a forked job: threads of a library must not keep its GPU
