"""Sweeps, ``train -m``: every combination runs in a process of its own, ranked in a leaderboard at the end.

All combinations are composed and validated before the first one starts, wherever the jobs run (``launchers``). Which
process runs a job is decided by files in the directory of the sweep, so that several commands can share its jobs.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from trainer.config import compose, config_dir, secret_masking
from trainer.config.defaults_list import get_builtin_dir
from trainer.config.job_composer import JobComposer
from trainer.config.launcher_options import LauncherOptions
from trainer.config.override_parser import parse_overrides
from trainer.config.run_config import Config
from trainer.config.schema import Settings
from trainer.config.sweep_file import expand_sweep_files
from trainer.config.sweep_grid import expand_combinations
from trainer.runs import job_attempt, run_dir, sweep_dir
from trainer.runs.launchers import job_file
from trainer.runs.launchers.capacity import Capacity
from trainer.utils import atomic_write, gpus, signals
from trainer.utils.cpu import count_cores, count_processors
from trainer.utils.errors import ConfigError, IncompatibleError, Interrupted, UnknownNameError
from trainer.utils.text import escape_control_chars, format_count

if TYPE_CHECKING:
    from trainer.runs.launchers.launcher import Launcher
    from trainer.runs.sweep_job import Job

MAX_NAME_LENGTH, MAX_NAME_BYTES = 120, 240
"""Maximum characters and bytes of the name of a job; file systems allow 255 bytes, and ``.out`` is appended."""

SUMMARY_DIR = ".summary"
"""Directory next to those of the jobs, by which commands with the same jobs save the leaderboard one at a time."""


def run_sweep(
    overrides: Sequence[str], config_dirs: Sequence[Path], launcher_options: LauncherOptions | None = None
) -> int:
    """Run all combinations of a grid.

    Args:
        overrides: Overrides of the command line, with the values of the grid.
        config_dirs: Configuration directories of the user.
        launcher_options: Options of a launcher; None for processes of this machine.

    Returns:
        Exit code, 0 if every job finished.

    Raises:
        ConfigError: A name or value of the grid is invalid, or no combination is compatible; nothing has been run.
        Interrupted: A signal has stopped the sweep.
    """
    parsed_overrides = parse_overrides(expand_sweep_files(overrides, config_dirs), config_dirs)
    swept_keys = {item.key_or_group for item in parsed_overrides if item.is_sweep_override()}
    grid = expand_combinations(parsed_overrides, config_dirs)
    configs = _compose_jobs(grid, config_dirs)
    if any(isinstance(item, Config) and item.settings.match for item in configs):
        from trainer.runs import match_size

        configs = match_size.match_jobs(configs)
    names = [name_job(number, combination, swept_keys) for number, combination in enumerate(grid)]
    compatible = [(name, item) for name, item in zip(names, configs, strict=True) if isinstance(item, Config)]
    settings = [item.settings for _, item in compatible]
    capacity = Capacity(count_cores(), list_devices(settings), settings[0].jobs)
    if launcher_options is not None:
        job_file.check_secrets([item for _, item in compatible])
    from trainer.runs.launchers import select_launcher  # imported here: invalid grids are reported without torch

    backend = select_launcher.make_backend(launcher_options, settings, capacity)
    try:
        root, similar_run = _find_root(compatible)
        # With several processes on a machine, further threads would compete for the same cores.
        at_a_time = capacity.count_parallel_jobs(settings) if backend is None or backend.shares_devices else 1
        jobs = [_make_job(item, root / name, at_a_time) for item, name in zip(configs, names, strict=True)]
        place = "" if backend is None else backend.description
        place = (
            place or f"{at_a_time} at a time{capacity.describe_devices(settings) or describe_worker_limit(at_a_time)}"
        )
        _announce(jobs, f"{place}, in {root}", similar_run)
        return _run_jobs(jobs, root, partial(select_launcher.make_launcher, backend=backend, capacity=capacity))
    finally:
        if backend is not None:
            backend.close()


def _announce(jobs: Sequence[Job], place: str, similar_run: str | None) -> None:
    from trainer.viz.console import print_line

    if similar_run is not None:
        print_line(f"resume=auto: no sweep of these jobs on this data yet; starting one{similar_run}")
    refused = sum(job.config is None for job in jobs)
    refused_text = f" ({refused} incompatible)" if refused else ""
    print_line(f"{format_count(len(jobs) - refused, 'job')}{refused_text}, {place}")


def _run_jobs(jobs: Sequence[Job], root: Path, make_launcher: Callable[[Sequence[Job], str], Launcher]) -> int:
    from trainer.runs import sweep_scheduler

    scheduler = uuid.uuid4().hex
    stop_signal = sweep_scheduler.run_jobs(jobs, make_launcher(jobs, scheduler))
    return _summarize(jobs, root, scheduler, stop_signal)


def _find_root(jobs: Sequence[tuple[str, Config]]) -> tuple[Path, str | None]:
    """Find or create the directory for all jobs; with ``resume=auto`` that of an earlier or simultaneous command.

    Args:
        jobs: Name and configuration of each job that can run.

    Returns:
        The directory, and for the first command with these jobs a description of a similar run, else None.
    """
    _, first = jobs[0]
    if first.settings.resume != "auto":
        return run_dir.claim_dir(first.sweep_dir), None
    from trainer.runs import initial_weights, matching_run

    # With resume=auto a sweep continues in its directory, so that its leaderboard contains all its jobs.
    identified = ((name, initial_weights.with_input_digests(item)) for name, item in jobs)
    digested: list[tuple[str, Config]] = []
    for name, item in identified:
        # Single runs do not count: the directory must have the name of the job.
        path = matching_run.find_matching_run(item, Path(item.sweep_dir, name), name)
        if path is not None:
            return path.parent, None
        digested.append((name, item))
    root = sweep_dir.find_sweep_dir(digested)
    if root is not None:
        return root, None
    name, item = digested[0]
    similar_run = matching_run.describe_similar_run(item, Path(item.sweep_dir, name), name)
    return sweep_dir.claim_sweep_dir(digested), similar_run


def list_devices(jobs: Sequence[Settings]) -> list[str]:
    """Return the GPUs of this machine if any job may use one; otherwise torch does not look for any.

    Args:
        jobs: Global keys of each job.
    """
    return gpus.list_cuda_devices() if any(settings.device not in ("cpu", "mps") for settings in jobs) else []


def describe_worker_limit(workers: int) -> str:
    """Note that an environment variable limits the number of jobs below that of processors.

    Args:
        workers: Number of jobs at a time.
    """
    num_threads, num_processors = os.environ.get("OMP_NUM_THREADS", ""), count_processors()
    if num_threads != str(workers) or workers >= num_processors:
        return ""
    return f" (OMP_NUM_THREADS={num_threads}; jobs={num_processors} would use all processors)"


def name_job(number: int, combination: Sequence[str], swept_keys: Set[str]) -> str:
    """Return the name of a job's directory: its number and its values of the swept keys.

    Args:
        number: Number of the job.
        combination: Its overrides.
        swept_keys: Keys with several values.
    """
    label = ",".join(text for text in combination if text.split("=")[0].lstrip("+~") in swept_keys)
    name = f"{number}-{secret_masking.mask_override(label)}".replace("/", "_")[:MAX_NAME_LENGTH]
    # A character that is cut in two is dropped.
    return (
        name
        if len(os.fsencode(name)) <= MAX_NAME_BYTES
        else os.fsencode(name)[:MAX_NAME_BYTES].decode("utf-8", "ignore")
    )


def _make_job(item: Config | IncompatibleError, path: Path, at_a_time: int) -> Job:
    from trainer.runs.sweep_job import Job

    if isinstance(item, IncompatibleError):
        return Job(None, path, "refused", str(item))
    threads = item.settings.threads or (1 if at_a_time > 1 else None)
    settings = replace(item.settings, threads=threads)
    return Job(replace(item, run_dir=str(path), settings=settings), path, "waiting")


def _compose_jobs(grid: Sequence[Sequence[str]], config_dirs: Sequence[Path]) -> list[Config | IncompatibleError]:
    """Compose the configuration of each job, or the reason why its options are incompatible.

    Raises:
        UnknownNameError: A name is unknown.
        ConfigError: Values are invalid in any combination, or no combination is compatible.
    """
    configs: list[Config | IncompatibleError] = []
    problems: list[str] = []
    composer = JobComposer(config_dirs)
    for combination in grid:
        try:
            configs.append(composer.compose(combination))
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


def _summarize(jobs: Sequence[Job], root: Path, scheduler: str, stop_signal: int | None) -> int:
    """Print how every job ended, and show the leaderboard of those that finished."""
    from trainer.runs import leaderboard

    try:
        with job_attempt.hold_exclusively(root / run_dir.JOBS_DIR / SUMMARY_DIR, scheduler):
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
        raise Interrupted(
            "sweep stopped; the same command with resume=auto resumes it",
            signals.resolve_signal(number),
            is_early_warning=number == signal.SIGUSR1,
        )
    statuses = {job.status for job in jobs} - {"finished"}
    return ConfigError.exit_code if statuses == {"refused"} else int(bool(statuses))


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
