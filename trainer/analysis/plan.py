"""``train plan``: what a run or a sweep costs, what its data looks like, and what would be refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.analysis.plan_jobs import JobGroup, PlannedJobs, compose_jobs, estimate_makespan
from trainer.analysis.trial import Trial, TrialError, run_trial
from trainer.config import budget_keys, ensemble_keys, parallel_keys
from trainer.engine import budget
from trainer.engine.checkpoint import BEST, LAST
from trainer.engine.checkpoint_retention import Retention
from trainer.engine.checkpoint_space import count_files
from trainer.runs.launchers.capacity import Capacity
from trainer.utils import atomic_write, gpus
from trainer.utils.cpu import count_cores
from trainer.utils.errors import ConfigError
from trainer.utils.memory import count_machine_bytes


@dataclass(frozen=True)
class RunPlan:
    """What a run costs.

    Args:
        group: The run, with the jobs of equal cost.
        trial: Trial of the run; None if it would be refused.
        refusals: Why it would be refused.
    """

    group: JobGroup
    trial: Trial | None
    refusals: Sequence[str]

    @property
    def steps(self) -> int:
        """Number of steps."""
        assert self.trial is not None
        settings = self.group.config.settings
        if settings.budget is not None and settings.max_steps is None:
            return self.trial.choose_steps(budget_keys.parse_seconds(settings.budget))
        return int(self.trial.report["total_steps"])

    @property
    def seconds(self) -> float:
        """Time from the command to its end."""
        assert self.trial is not None
        return self.trial.estimate_seconds(self.steps)

    @property
    def memory_bytes(self) -> int:
        """Most memory of the machine that the processes of the run have at once."""
        assert self.trial is not None
        return int(self.trial.report["memory_bytes"]) * parallel_keys.count_processes(self.group.config.tree)

    @property
    def disk_bytes(self) -> int:
        """Most bytes of checkpoints that the run has at once."""
        assert self.trial is not None
        settings, sizes = self.group.config.settings, self.trial.report["checkpoint_bytes"]
        retention = Retention(settings.keep_last, settings.keep_every, settings.keep_best)
        count = count_files(retention, self.steps)
        return int(count.states * sizes.get(LAST, 0) + count.best * sizes.get(BEST, 0))

    def to_plain_values(self) -> dict[str, Any]:
        """Return the plan as values of JSON."""
        values: dict[str, Any] = {"jobs": self.group.count, "values": self.group.label, "refused": list(self.refusals)}
        if self.trial is None:
            return values
        report = self.trial.report
        return values | {
            "options": dict(self.group.config.names),
            "device": report["device"],
            "threads": report["threads"],
            "parameters": report["params"],
            "matched_widths": report.get("widths", {}),
            "multiply_adds_per_step": report["macs"],
            "rows": report["data"]["rows"],
            "batches_per_epoch": report["batches"],
            "steps": self.steps,
            "epochs": self.trial.rate.count_epochs(self.steps),
            "validations": self.trial.rate.count_validations(self.steps),
            "seconds_per_step": self.seconds_per_step,
            "seconds": self.seconds,
            "seconds_by_part": self.list_parts(),
            "memory_bytes": self.memory_bytes,
            "device_bytes": report["device_bytes"],
            "disk_bytes": self.disk_bytes,
            "data": report["data"]["lines"],
        }

    @property
    def seconds_per_step(self) -> float:
        """Time of training divided by the number of steps."""
        return self.list_parts()["training"] / max(1, self.steps)

    def list_parts(self) -> dict[str, float]:
        """Return the seconds of each part of the run."""
        assert self.trial is not None
        trial, steps = self.trial, self.steps
        validations = trial.rate.count_validations(steps)
        validation = validations * trial.rate.validation
        return {
            "start": trial.startup_seconds,
            "training": trial.estimate_training_seconds(steps) - validation,
            "validation": validation,
            "test and figures": trial.final_seconds,
            "exit": trial.exit_seconds,
        }


@dataclass(frozen=True)
class Plan:
    """What a command line costs.

    Args:
        runs: Plan of each group of jobs of equal cost.
        jobs: The jobs.
        at_a_time: Number of jobs of a sweep that run at a time.
        seconds: Time of all jobs; None if one of them has no trial.
        free_bytes: Free bytes of the disk of the run directories.
        machine_bytes: Memory of the machine.
    """

    runs: Sequence[RunPlan]
    jobs: PlannedJobs
    at_a_time: int
    seconds: float | None
    free_bytes: int
    machine_bytes: int

    @property
    def refusals(self) -> list[str]:
        """Why jobs would be refused, each reason once."""
        return list(dict.fromkeys([*self.jobs.refused, *(reason for run in self.runs for reason in run.refusals)]))

    def to_plain_values(self) -> dict[str, Any]:
        """Return the plan as values of JSON."""
        return {
            "seconds": self.seconds,
            "jobs": len(self.jobs.order),
            "jobs_at_a_time": self.at_a_time,
            "refused": self.refusals,
            "free_disk_bytes": self.free_bytes,
            "machine_memory_bytes": self.machine_bytes,
            "runs": [run.to_plain_values() for run in self.runs],
        }


def make_plan(overrides: Sequence[str], config_dirs: Sequence[Path], *, is_sweep: bool) -> Plan:
    """Measure what a command line costs; nothing is left behind.

    Args:
        overrides: Overrides of the command line.
        config_dirs: Directories with YAML files of the user.
        is_sweep: Whether the command line has ``-m``.

    Raises:
        ConfigError: The command line is invalid.
    """
    jobs = compose_jobs(overrides, config_dirs, is_sweep=is_sweep)
    settings = [jobs.groups[number].config.settings for number in jobs.order]
    for group in jobs.groups:
        if group.config.settings.resume not in (None, "auto"):
            raise ConfigError("plan resume: a plan is about a new run; leave it out")
        ensemble_keys.check_is_one_model(group.config.settings, "plan one, of which an ensemble trains several")
    at_a_time = 1
    if is_sweep:
        devices = gpus.list_cuda_devices() if any(each.device not in ("cpu", "mps") for each in settings) else []
        at_a_time = Capacity(count_cores(), devices, settings[0].jobs).count_parallel_jobs(settings)
    free_bytes, machine_bytes = _count_free_bytes(jobs.groups[0].config.run_dir), count_machine_bytes()
    runs = [_plan_run(group, config_dirs, at_a_time, (free_bytes, machine_bytes)) for group in jobs.groups]
    return Plan(runs, jobs, at_a_time, _estimate_all(runs, jobs, at_a_time), free_bytes, machine_bytes)


def _plan_run(group: JobGroup, config_dirs: Sequence[Path], at_a_time: int, limits: tuple[int, int]) -> RunPlan:
    """Plan a run by a trial, with the reasons for which it would be refused on this machine."""
    # As in a sweep: with several jobs at a time, each has one thread.
    threads = ["threads=1"] if at_a_time > 1 and group.config.settings.threads is None else []
    try:
        run = RunPlan(group, run_trial([*group.overrides, *threads], config_dirs), [])
    except TrialError as error:
        return RunPlan(group, None, str(error).splitlines())
    if not run.steps and group.config.settings.budget is not None and run.trial is not None:
        trial, given = run.trial, str(group.config.settings.budget)
        return RunPlan(group, None, [budget.describe_shortage(trial.rate, given, trial.loading_seconds)])
    free_bytes, machine_bytes = limits
    refusals = []
    if run.disk_bytes > free_bytes:
        refusals.append(
            f"disk full: its checkpoints need {run.disk_bytes / 1e6:,.1f} MB, {free_bytes / 1e6:,.1f} MB are free"
        )
    if run.memory_bytes * at_a_time > machine_bytes:
        refusals.append(
            f"out of memory: {at_a_time} at a time need {run.memory_bytes * at_a_time / 1e9:.3g} GB, the machine has"
            f" {machine_bytes / 1e9:.3g} GB"
        )
    return RunPlan(group, run.trial, refusals)


def _estimate_all(runs: Sequence[RunPlan], jobs: PlannedJobs, at_a_time: int) -> float | None:
    """Return the time of all jobs, None if one has no trial; those of a sweep share imports and exit of one process."""
    if any(run.trial is None for run in runs):
        return None
    if len(jobs.order) == 1:
        return runs[0].seconds
    shared = max(run.trial.process_seconds for run in runs if run.trial is not None)
    own = [run.seconds - run.trial.process_seconds for run in runs if run.trial is not None]
    return shared + estimate_makespan([own[number] for number in jobs.order], at_a_time)


def _count_free_bytes(run_dir: str) -> int:
    """Return the free bytes of the disk on which a run directory would be created."""
    path = Path(run_dir).absolute()
    return shutil.disk_usage(next(each for each in (path, *path.parents) if each.exists())).free


def write_plan(values: Mapping[str, Any], path: Path) -> None:
    """Write a plan as JSON.

    Args:
        values: Its values.
        path: File to write.

    Raises:
        SystemFault: The file cannot be written.
    """
    atomic_write.write_text(path, json.dumps(values, indent=2, default=str) + "\n")
