"""Jobs of a plan: their configurations, and which of them cost the same."""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from trainer.config import compose, debug_keys
from trainer.config.override_parser import parse_overrides
from trainer.config.run_config import Config
from trainer.config.sweep_file import expand_sweep_files
from trainer.config.sweep_grid import expand_combinations
from trainer.utils.errors import ConfigError, IncompatibleError, UnknownNameError

FREE_KEYS = frozenset(
    (
        *("seed", "scheduler", "init", "monitor", "grad_clip", "patience", "plugins", "on_nonfinite"),
        *("resume", "resume_allow", "verbose", "process_timeout", "worker_timeout", "jobs", "log_every"),
        "allow_changed_data",
    )
)
"""Global keys and groups that hardly change the cost of a run; of those without influence on training, some do."""


@dataclass
class JobGroup:
    """Jobs of a sweep that cost the same, because they differ in numbers such as a learning rate or a seed.

    Args:
        config: Configuration of the first of them.
        overrides: Its overrides.
        values: Values of the swept keys that all of them have; empty for a single run.
        count: Number of jobs.
    """

    config: Config
    overrides: Sequence[str]
    values: Sequence[str] = ()
    count: int = 1

    @property
    def label(self) -> str:
        """The values as on a command line."""
        return " ".join(self.values)


@dataclass
class PlannedJobs:
    """Jobs of a command line.

    Args:
        groups: Groups of jobs of equal cost.
        order: Number of the group of each job.
        refused: Why other combinations are incompatible, each once.
    """

    groups: list[JobGroup] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def compose_jobs(overrides: Sequence[str], config_dirs: Sequence[Path], *, is_sweep: bool) -> PlannedJobs:
    """Compose and check the jobs of a command line, and group those of equal cost.

    Args:
        overrides: Overrides, with the values of a grid.
        config_dirs: Directories with YAML files of the user.
        is_sweep: Whether the command line has ``-m``.

    Raises:
        ConfigError: The command line is invalid, or no combination is compatible.
    """
    if not is_sweep:
        config = compose.compose(overrides, config_dirs, is_single_run=True)
        debug_keys.check_is_run(config.settings)
        return PlannedJobs([JobGroup(config, overrides)], [0])
    parsed = parse_overrides(expand_sweep_files(overrides, config_dirs), config_dirs)
    swept_keys = {item.key_or_group for item in parsed if item.is_sweep_override()}
    jobs = PlannedJobs()
    numbers: dict[str, int] = {}
    problems: list[str] = []
    for combination in expand_combinations(parsed, config_dirs):
        try:
            config = compose.compose(combination, config_dirs)
        except UnknownNameError:
            raise
        except IncompatibleError as error:
            jobs.refused += error.problems
            continue
        except ConfigError as error:
            problems += error.problems
            continue
        key = make_cost_key(config.tree)
        values = [text for text in combination if text.split("=")[0].lstrip("+~") in swept_keys]
        if key in numbers:
            group = jobs.groups[numbers[key]]
            group.values, group.count = [text for text in group.values if text in values], group.count + 1
        else:
            numbers[key] = len(jobs.groups)
            jobs.groups.append(JobGroup(config, combination, values))
        jobs.order.append(numbers[key])
    if problems or not jobs.groups:
        raise ConfigError(*dict.fromkeys(problems or jobs.refused))
    jobs.refused = list(dict.fromkeys(jobs.refused))
    return jobs


def make_cost_key(tree: Mapping[str, Any]) -> str:
    """Return a text that is equal for runs of equal cost: without seeds, rates, decays and dropout.

    Args:
        tree: Resolved configuration.
    """
    costs: dict[str, Any] = {key: value for key, value in tree.items() if key not in FREE_KEYS}
    # Whether a float is zero decides whether there are buffers, as those of momentum.
    costs["optimizer"] = {
        key: value != 0 if isinstance(value, float) else value
        for key, value in tree["optimizer"].items()
        if key != "lr"
    }
    costs["model"] = {key: value for key, value in tree["model"].items() if "dropout" not in key}
    costs["data"] = {key: value for key, value in tree["data"].items() if key not in ("seed", "fold")}
    return json.dumps(costs, sort_keys=True, default=str)


def estimate_makespan(seconds: Sequence[float], at_a_time: int) -> float:
    """Return the time of jobs that start in their order, each as soon as one of the places is free.

    Args:
        seconds: Time of each job.
        at_a_time: Number of places.
    """
    ends = [0.0] * max(1, at_a_time)
    for duration in seconds:
        heapq.heappush(ends, heapq.heappop(ends) + duration)
    return max(ends)
