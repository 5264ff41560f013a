"""The loop of a sweep: starts jobs where a launcher has room, shows their progress, and forwards signals."""

from __future__ import annotations

import signal
import time
from collections.abc import Sequence

from trainer.runs.launchers.launcher import JobHandle, Launcher
from trainer.runs.sweep_job import Job, format_job_scores, job_outcome, read_job_position
from trainer.utils import signals
from trainer.viz.progress_bar import Position, SweepProgress

OUT_OF_TIME = "the time is over"
"""Why jobs were interrupted that a deadline has stopped."""


def run_jobs(
    jobs: Sequence[Job], launcher: Launcher, progress: SweepProgress | None = None, deadline: float | None = None
) -> int | None:
    """Run jobs until every one has ended, and set their outcomes; return the signal that stopped them, if any.

    Args:
        jobs: Jobs of the sweep; those that are refused are not run.
        launcher: What starts them.
        progress: Shows the running jobs; None for a line for each one that has ended.
        deadline: Time of ``time.monotonic`` at which the running jobs save their state and end; None for none.
    """
    waiting = [job for job in jobs if job.config is not None]
    running: list[tuple[Job, JobHandle]] = []
    progress = progress or SweepProgress(len(waiting))
    received: list[int] = []
    num_forwarded, is_over = 0, False
    with signals.signal_handler(lambda number, _: received.append(number), signals.STOP_SIGNALS):
        while running or (waiting and not received and not is_over):
            if deadline is not None and not is_over and time.monotonic() >= deadline:
                is_over = True
                for _, handle in running:
                    handle.stop(signal.SIGTERM)
            if not received and not is_over:
                started = launcher.start_jobs(waiting)
                running += started
                waiting = [job for job in waiting if all(job is not other for other, _ in started)]
            for number in received[num_forwarded:]:
                # The jobs may not have received it: not every signal is sent to the whole group.
                for _, handle in running:
                    handle.stop(number)
            num_forwarded = len(received)
            progress.is_stopping = bool(received) or is_over
            ended = [(job, handle, end) for job, handle in running if (end := handle.poll()) is not None]
            if not ended:
                if progress.is_update_due:
                    progress.show_running_jobs(_read_positions(running))
                time.sleep(launcher.poll_seconds)
                continue
            running = [pair for pair in running if all(pair[1] is not handle for _, handle, _ in ended)]
            positions = _read_positions(running)
            for job, _, end in ended:
                if end.is_abandoned and not received and not is_over:
                    waiting.insert(0, job)
                    continue
                job.status, job.reason = job_outcome(job, end.code, end.reason)
                progress.finish_job(
                    f"{job.status:11} {job.path.name}  {format_job_scores(job)}",
                    positions,
                )
    for job in waiting:
        job.status = "interrupted"
        job.reason = OUT_OF_TIME if is_over and not received else "the sweep was stopped before it started"
    return signal.Signals(received[0]) if received else None


def _read_positions(running: Sequence[tuple[Job, JobHandle]]) -> list[tuple[str, Position | None]]:
    """Read the positions of jobs, without those that wait in the queue of a launcher."""
    return [read_job_position(job) for job, _ in running if job.output_path.exists()]
