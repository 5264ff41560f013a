"""Number of jobs of a sweep that a machine runs at a time: one per core, or ``jobs_per_device`` on each GPU."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from trainer.config.schema import Settings
from trainer.utils.text import format_count

if TYPE_CHECKING:
    from trainer.runs.sweep_job import Job


def list_job_devices(settings: Settings, devices: Sequence[str]) -> list[str]:
    """Return the GPUs among which a job may choose; empty if it runs on the CPU.

    Args:
        settings: Global keys of the job.
        devices: GPUs of the machine, as in ``CUDA_VISIBLE_DEVICES``.
    """
    kind, _, index = settings.device.partition(":")
    if kind not in ("auto", "cuda"):
        return []
    return list(devices[int(index) : int(index) + 1] if index else devices)


def count_job_devices(settings: Settings, devices: Sequence[str]) -> int:
    """Return the number of GPUs of a job, or of cores if it runs on the CPU: one for each of its processes.

    Args:
        settings: Global keys of the job.
        devices: GPUs among which it may choose; with fewer than it needs, it takes all and fails by itself.
    """
    processes = len(devices) if settings.devices == "auto" else settings.devices or 1
    return min(processes, len(devices)) if devices else max(processes, 1)


class Capacity:
    """Room for jobs on a machine; jobs on GPUs and on the CPU do not compete.

    Args:
        cores: Number of processors.
        devices: GPUs, as in ``CUDA_VISIBLE_DEVICES``.
        limit: Maximum number of jobs at a time; None for as many as there is room for.
    """

    def __init__(self, cores: int, devices: Sequence[str], limit: int | None = None):
        self.cores, self.devices, self.limit = cores, devices, limit

    def find_next_job(self, waiting: Iterable[Job], running: Iterable[Job]) -> Job | None:
        """Return the first job that there is room for; a job for the CPU may overtake one that waits for a GPU.

        Args:
            waiting: Jobs that have not been started.
            running: Jobs that have not ended.
        """
        busy = [job.config.settings for job in running if job.config is not None]
        return next((job for job in waiting if job.config and self.has_room(busy, job.config.settings)), None)

    def has_room(self, running: Sequence[Settings], settings: Settings) -> bool:
        """Return whether a job can start in addition to those that are running; one job always can.

        Args:
            running: Global keys of each running job.
            settings: Global keys of the job.
        """
        if not running:
            return True
        if self.limit is not None and len(running) >= self.limit:
            return False
        loads = dict.fromkeys(self.devices, 0)
        cores = sum(self._add_job(loads, job) for job in running)
        choices = list_job_devices(settings, self.devices)
        if choices:
            free = [name for name in choices if loads[name] < settings.jobs_per_device]
            return len(free) >= count_job_devices(settings, choices)
        # An explicit limit replaces that of the cores.
        return self.limit is not None or cores + count_job_devices(settings, []) <= self.cores

    def _add_job(self, loads: dict[str, int], settings: Settings) -> int:
        """Add a job to the devices with the lowest load; return the number of its cores if it has no device."""
        choices = sorted(list_job_devices(settings, self.devices), key=lambda name: loads[name])
        count = count_job_devices(settings, choices)
        for name in choices[:count]:
            loads[name] += 1
        return 0 if choices else count

    def count_parallel_jobs(self, jobs: Iterable[Settings]) -> int:
        """Return how many of the jobs run at a time in the beginning.

        Args:
            jobs: Global keys of each job.
        """
        running: list[Settings] = []
        for settings in jobs:
            if self.has_room(running, settings):
                running.append(settings)
        return len(running)

    def describe_devices(self, jobs: Iterable[Settings]) -> str:
        """Return `` on 2 GPUs`` if jobs run there, else an empty string.

        Args:
            jobs: Global keys of each job.
        """
        names = {name for settings in jobs for name in list_job_devices(settings, self.devices)}
        return f" on {format_count(len(names), 'GPU')}" if names else ""
