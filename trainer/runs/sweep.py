"""Sweeps, ``train -m``: every combination runs in a process of its own, ranked in a leaderboard at the end.

All combinations are composed and validated before the first one starts. A job is a fork of this process, which has
imported torch but started no threads: it starts in milliseconds, and its failure does not affect the others.
"""

from __future__ import annotations

import importlib
import logging
import os
import signal
import sys
import time
from collections.abc import Iterable, Sequence, Set
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trainer.config import compose, config_dir, registry, secret_masking
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.overrides import parse_overrides
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.sweep_grid import expand_combinations
from trainer.runs import run_dir
from trainer.runs.launchers.capacity import Capacity
from trainer.utils import atomic_write, gpus, signals
from trainer.utils.cpu import count_cores, count_processors
from trainer.utils.errors import ConfigError, IncompatibleError, Interrupted, UnknownNameError
from trainer.utils.text import escape_control_chars, format_count

if TYPE_CHECKING:
    from trainer.runs.sweep_job import Job

MAX_NAME_LENGTH, MAX_NAME_BYTES = 120, 240
"""Maximum characters and bytes of the name of a job; file systems allow 255 bytes, and ``.out`` is appended."""
POLL_SECONDS = 0.05
"""Seconds between checks for finished jobs."""


def run_sweep(overrides: Sequence[str], config_dirs: Sequence[Path]) -> int:
    """Run all combinations of a grid.

    Args:
        overrides: Overrides of the command line, with the values of the grid.
        config_dirs: Configuration directories of the user.

    Returns:
        Exit code, 0 if every job finished.

    Raises:
        ConfigError: A name or value of the grid is invalid, or no combination is compatible; nothing has been run.
        Interrupted: A signal has stopped the sweep.
    """
    parsed_overrides = parse_overrides(overrides, config_dirs)
    swept_keys = {item.key_or_group for item in parsed_overrides if item.is_sweep_override()}
    grid = expand_combinations(parsed_overrides, config_dirs)
    configs = _compose_jobs(grid, config_dirs)
    compatible = [item for item in configs if isinstance(item, Config)]
    names = [_job_name(number, combination, swept_keys) for number, combination in enumerate(grid)]
    # With resume=auto a sweep continues in its directory, so that its leaderboard contains all its jobs.
    earlier_runs = (
        _find_earlier_run(item, name) for item, name in zip(configs, names, strict=True) if isinstance(item, Config)
    )
    earlier_root = next((path.parent for path in earlier_runs if path), None)
    root = earlier_root or _claim_sweep_dir(compatible[0])
    settings = [item.settings for item in compatible]
    capacity = Capacity(count_cores(), _list_devices(settings), settings[0].jobs)
    workers = capacity.count_parallel_jobs(settings)
    jobs = [_make_job(item, root / name, workers) for item, name in zip(configs, names, strict=True)]
    from trainer.viz.console import print_line  # imported here: invalid grids are reported without rich

    if earlier_root is None and compatible[0].settings.resume == "auto":
        print_line(
            f"resume=auto: no sweep of these jobs on this data yet; starting one{_describe_other_data(configs, names)}"
        )
    refused = len(jobs) - len(compatible)
    refused_text = f" ({refused} incompatible)" if refused else ""
    print_line(
        f"{format_count(len(compatible), 'job')}{refused_text}, {workers} at a time"
        f"{capacity.describe_devices(settings) or _describe_worker_limit(workers)}, in {root}"
    )
    stop_signal = _run_all(jobs, capacity)
    return _summarize(jobs, root, stop_signal)


def _list_devices(jobs: Sequence[Settings]) -> list[str]:
    """Return the GPUs of this machine if any job may use one; otherwise torch is not asked."""
    return gpus.list_cuda_devices() if any(settings.device not in ("cpu", "mps") for settings in jobs) else []


def _describe_worker_limit(workers: int) -> str:
    """Note that an environment variable limits the number of jobs below that of processors."""
    num_threads, num_processors = os.environ.get("OMP_NUM_THREADS", ""), count_processors()
    if num_threads != str(workers) or workers >= num_processors:
        return ""
    return f" (OMP_NUM_THREADS={num_threads}; jobs={num_processors} would use all processors)"


def _job_name(number: int, combination: Sequence[str], swept_keys: Set[str]) -> str:
    """Return the name of a job's directory: its number and its values of the swept keys."""
    label = ",".join(text for text in combination if text.split("=")[0].lstrip("+~") in swept_keys)
    name = f"{number}-{secret_masking.mask_override(label)}".replace("/", "_")[:MAX_NAME_LENGTH]
    # A character that is cut in two is dropped.
    return (
        name
        if len(os.fsencode(name)) <= MAX_NAME_BYTES
        else os.fsencode(name)[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    )


def _find_earlier_run(item: Config, name: str) -> Path | None:
    """Find the directory of this job in an earlier sweep, for ``resume=auto``; single runs do not count."""
    if item.settings.resume != "auto":
        return None
    from trainer.runs import initial_weights, matching_run

    return matching_run.find_matching_run(initial_weights.with_input_digests(item), Path(item.sweep_dir, name), name)


def _describe_other_data(configs: Sequence[Config | IncompatibleError], names: Sequence[str]) -> str:
    """Describe the earlier sweep of the first runnable job whose data was different."""
    from trainer.runs import initial_weights, matching_run

    item, name = next(pair for pair in zip(configs, names, strict=True) if isinstance(pair[0], Config))
    assert isinstance(item, Config)
    return matching_run.describe_other_data(initial_weights.with_input_digests(item), Path(item.sweep_dir, name), name)


def _claim_sweep_dir(item: Config) -> Path:
    """Claim a directory for all jobs; with ``resume=auto``, abandoned directories are reused."""
    return run_dir.claim_dir(item.sweep_dir, run_dir.is_abandoned_sweep if item.settings.resume == "auto" else None)


def _make_job(item: Config | IncompatibleError, path: Path, workers: int) -> Job:
    from trainer.runs.sweep_job import Job

    if isinstance(item, IncompatibleError):
        return Job(None, path, "refused", str(item))
    # With several processes, further threads would compete for the same cores.
    threads = item.settings.threads or (1 if workers > 1 else None)
    # A job resumes only in its own directory: the leaderboard would lack a run of another directory.
    resume = None if item.settings.resume == "auto" and not path.is_dir() else item.settings.resume
    settings = replace(item.settings, threads=threads, resume=resume)
    return Job(replace(item, run_dir=str(path), settings=settings), path, "waiting")


def _compose_jobs(grid: Sequence[Sequence[str]], config_dirs: Sequence[Path]) -> list[Config | IncompatibleError]:
    """Compose the configuration of each job, or the reason why its options are incompatible.

    Raises:
        UnknownNameError: A name is unknown.
        ConfigError: Values are invalid in any combination, or no combination is compatible.
    """
    configs: list[Config | IncompatibleError] = []
    problems: list[str] = []
    for combination in grid:
        try:
            configs.append(compose.compose(combination, config_dirs))
        except UnknownNameError:
            raise
        except IncompatibleError as error:
            configs.append(error)
        except ConfigError as error:
            problems += error.problems
    if not problems and not any(isinstance(item, Config) for item in configs):
        problems = [str(item) for item in configs]
    if problems:
        raise ConfigError(*dict.fromkeys(problems))
    return configs


def _summarize(jobs: Sequence[Job], root: Path, stop_signal: int | None) -> int:
    """Print how every job ended, and show the leaderboard of those that finished."""
    from trainer.runs import leaderboard

    try:
        # A sweep that was killed while it saved its leaderboard may have left a temporary file.
        atomic_write.remove_leftovers(root)
        leaderboard.show_leaderboard(root)
    finally:  # an error of the leaderboard must not hide how the jobs ended
        for job in jobs:
            if job.status != "finished":
                print(escape_control_chars(f"{job.status}: {job.path.name}: {job.reason}"), file=sys.stderr)
    if any(job.status == "interrupted" for job in jobs):
        numbers = (number for number in signals.STOP_SIGNALS if any(number.name in job.reason for job in jobs))
        number = stop_signal or next(numbers, signal.SIGINT)
        raise Interrupted("sweep stopped; the same command with resume=auto resumes it", signals.resolve_signal(number))
    statuses = {job.status for job in jobs} - {"finished"}
    return ConfigError.exit_code if statuses == {"refused"} else int(bool(statuses))


def _preimport(jobs: Sequence[Job]) -> None:
    """Import once what every job would import."""
    import matplotlib.backends.backend_agg
    import matplotlib.figure  # noqa: F401
    import torch

    from trainer.runs import train  # noqa: F401

    # Before the first fork there must be one thread: a child inherits locks, but not the threads that hold them.
    torch.set_num_threads(1)
    trees = [job.config.tree for job in jobs if job.config is not None]
    modules = {tree[group]["_target_"].rpartition(".")[0] for tree in trees for group in registry.OBJECT_GROUPS}
    for module in sorted(modules):
        # Plugins are imported by the jobs, so that their errors do not end the sweep.
        if module.startswith("trainer."):
            importlib.import_module(module)


def _run_all(jobs: Sequence[Job], capacity: Capacity) -> int | None:
    """Run as many jobs at a time as there is room for until all have ended; return the signal that stopped them."""
    from trainer.runs.sweep_job import format_job_scores, job_outcome, read_job_position, start_job
    from trainer.viz.progress_bar import SweepProgress

    _preimport(jobs)
    waiting = [job for job in jobs if job.config is not None]
    running: dict[int, Job] = {}
    total = len(waiting)
    received_signals: list[int] = []

    def stop_jobs(number: int, _: object) -> None:
        """Stop the sweep and forward the signal to the jobs, which may not have received it."""
        received_signals.append(number)
        for pid in running:
            with suppress(ProcessLookupError):  # the job has just ended
                # Ctrl-C reaches the jobs, too; a second SIGINT would end them without saving.
                os.kill(pid, signal.SIGTERM if number == signal.SIGINT else number)

    progress = SweepProgress(total)
    with signals.signal_handler(stop_jobs, signals.STOP_SIGNALS):
        while running or (waiting and not received_signals):
            while not received_signals and (job := _find_next_job(waiting, running.values(), capacity)):
                waiting.remove(job)
                with signals.block_signals():  # or a job that was just forked would be missed
                    running[start_job(job)] = job
            # Wait for each job by its process id, because the caller may have other children.
            finished = (result for result in (os.waitpid(pid, os.WNOHANG) for pid in tuple(running)) if result[0])
            pid, code = next(finished, (0, 0))
            if not pid:
                progress.show_running_jobs([read_job_position(job) for job in running.values()])
                time.sleep(POLL_SECONDS)
                continue
            job = running.pop(pid)
            job.status, job.reason = job_outcome(job, os.waitstatus_to_exitcode(code))
            progress.finish_job(
                f"{job.status:11} {job.path.name}  {format_job_scores(job)}",
                [read_job_position(job) for job in running.values()],
            )
    for job in waiting:
        job.status, job.reason = "interrupted", "the sweep was stopped before it started"
    return received_signals[0] if received_signals else None


def _find_next_job(waiting: Sequence[Job], running: Iterable[Job], capacity: Capacity) -> Job | None:
    """Return the first job that there is room for; a job for the CPU may overtake one that waits for a GPU."""
    busy = [job.config.settings for job in running if job.config is not None]
    return next((job for job in waiting if job.config and capacity.has_room(busy, job.config.settings)), None)


def run_with_hydra(words: Sequence[str], overrides: Sequence[str], config_dirs: Sequence[Path]) -> int:
    """Run the main function of Hydra on the YAML files of the package, for its flags, sweepers and launchers.

    Args:
        words: Flags of Hydra.
        overrides: Overrides, which have been validated.
        config_dirs: Configuration directories of the user, which are added to the search path.

    Returns:
        Exit code.

    Raises:
        ConfigError: Hydra rejects the command line.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"
    logging.raiseExceptions = False  # with a closed pipe, each line of the log would print a traceback
    sys.argv = [sys.argv[0], *words, *config_dir.make_searchpath_override(config_dirs), *overrides]

    @hydra.main(version_base="1.3", config_path=str(get_builtin_dir().absolute()), config_name="train")
    def job(composed: DictConfig) -> float:
        from trainer.runs import train

        return train.run(compose.from_hydra(composed)).val_score

    try:
        job()
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(" ".join(str(error).split())[:500]) from error
    return 0
