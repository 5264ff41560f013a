"""Which launcher a sweep has, by the options of the command line."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.config.launcher_options import (
    OPTION_PREFIX,
    JoblibOptions,
    LauncherOptions,
    RayOptions,
    SubmititLocalOptions,
    SubmititSlurmOptions,
)
from trainer.config.schema import Settings
from trainer.runs.launchers.capacity import Capacity, count_job_devices
from trainer.runs.launchers.launcher import Launcher
from trainer.runs.launchers.remote_launcher import Backend, RemoteLauncher
from trainer.runs.sweep_job import Job
from trainer.utils.errors import ConfigError


def make_backend(options: LauncherOptions | None, jobs: Sequence[Settings], capacity: Capacity) -> Backend | None:
    """Return the backend that runs the jobs; None for forks of this process.

    Args:
        options: Options of the launcher; None without one.
        jobs: Global keys of each job.
        capacity: Room for jobs on this machine.

    Raises:
        ConfigError: An option has an invalid value, or ``devices=auto`` depends on the machine that runs the job.
        SystemFault: There is no cluster.
    """
    first = jobs[0]
    if options is not None and first.members is not None:
        raise ConfigError("members: jobs of a launcher are processes of their own; leave out one of both")
    processes = max(_count_processes(settings, options) for settings in jobs)
    match options:
        case None:
            return None
        case JoblibOptions():
            from trainer.runs.launchers.joblib_backend import JoblibBackend

            return JoblibBackend(options, capacity.count_parallel_jobs(jobs))
        case SubmititLocalOptions():
            from trainer.runs.launchers.submitit_backend import SubmititLocalBackend

            return SubmititLocalBackend(options)
        case SubmititSlurmOptions():
            from trainer.runs.launchers.submitit_backend import SubmititSlurmBackend

            uses_cuda = any(settings.device.startswith("cuda") for settings in jobs)
            return SubmititSlurmBackend(options, first.jobs, processes, uses_cuda=uses_cuda)
        case RayOptions():
            from trainer.runs.launchers.ray_backend import RayBackend

            may_use_cuda = any(settings.device not in ("cpu", "mps") for settings in jobs)
            return RayBackend(options, processes, processes / first.jobs_per_device if may_use_cuda else 0)
    raise AssertionError(f"{options} are the options of no launcher")


def _count_processes(settings: Settings, options: LauncherOptions | None) -> int:
    """Return the number of processes of a job; ``devices=auto`` has one for each GPU that the launcher asks for.

    Raises:
        ConfigError: Other machines run the job, and would decide by their GPUs how it trains.
    """
    if settings.devices != "auto" or settings.device not in ("auto", "cuda"):
        return count_job_devices(settings, [])
    num_gpus: float | None
    match options:
        case SubmititSlurmOptions():
            key, num_gpus = "gpus_per_node", options.gpus_per_node
        case RayOptions():
            key, num_gpus = "num_gpus", options.num_gpus
        case _:
            return count_job_devices(settings, [])
    if settings.shards is None or num_gpus is None:
        raise ConfigError(
            "devices: auto counts the GPUs of this machine, but others may run the jobs; give devices=N, or both"
            f" shards=N and {OPTION_PREFIX}{key}=N"
        )
    return max(1, int(num_gpus))


def make_launcher(jobs: Sequence[Job], scheduler: str, backend: Backend | None, capacity: Capacity) -> Launcher:
    """Return the launcher of a sweep.

    Args:
        jobs: All jobs.
        scheduler: Name of this command.
        backend: Where they run; None for forks of this process.
        capacity: Room for jobs on this machine.
    """
    members = next((job.config.settings.members for job in jobs if job.config is not None), None)
    if backend is None and members is not None:
        from trainer.runs.launchers.member_launcher import MemberLauncher

        return MemberLauncher(jobs, scheduler, capacity, members)
    if backend is None:
        from trainer.runs.launchers.fork_launcher import ForkLauncher

        return ForkLauncher(jobs, scheduler, capacity)
    return RemoteLauncher(jobs, scheduler, backend, capacity)
