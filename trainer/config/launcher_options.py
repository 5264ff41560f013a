"""Launchers of sweeps, ``hydra/launcher=NAME``, and their options, ``hydra.launcher.KEY=VALUE``.

These are the names of Hydra's own plugins, which are not used: they start jobs that nothing has checked, cannot
continue a sweep, and know neither isolation nor a leaderboard.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, get_type_hints

from trainer.config.override_parser import parse_overrides
from trainer.config.schema import Count, ProcessCount
from trainer.config.validation import check_value
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

LAUNCHER_GROUP, OPTION_PREFIX, SWEEPER_GROUP = "hydra/launcher", "hydra.launcher.", "hydra/sweeper"


@dataclass(frozen=True, kw_only=True)
class LauncherOptions:
    """Base class of the options of launchers.

    Attributes:
        package: Package that the launcher needs.
    """

    package: ClassVar[str]


@dataclass(frozen=True, kw_only=True)
class JoblibOptions(LauncherOptions):
    """Options of ``joblib``: processes of this machine, or of a backend that is registered with joblib.

    Attributes:
        n_jobs: Jobs at a time; null: as without a launcher.
        backend: Backend of joblib.
    """

    package: ClassVar[str] = "joblib"
    n_jobs: ProcessCount | None = None
    backend: str = "loky"


@dataclass(frozen=True, kw_only=True)
class SubmititLocalOptions(LauncherOptions):
    """Options of ``submitit_local``: processes of this machine that outlive the command.

    Attributes:
        timeout_min: Minutes after which a job is stopped.
        signal_delay_s: Seconds before that at which it receives the signal to save.
        max_num_timeout: How often it is continued after that.
    """

    package: ClassVar[str] = "submitit"
    timeout_min: Count = 7 * 24 * 60
    signal_delay_s: PositiveInt = 120
    max_num_timeout: NonNegativeInt = 0


@dataclass(frozen=True, kw_only=True)
class SubmititSlurmOptions(LauncherOptions):
    """Options of ``submitit_slurm``: an array of Slurm jobs.

    Attributes:
        partition: Partition.
        timeout_min: Time limit in minutes.
        signal_delay_s: Seconds before the limit at which a job saves its state and is requeued.
        max_num_timeout: How often a job is requeued after reaching the limit.
        array_parallelism: Jobs at a time; null: `jobs`, else as many as Slurm starts.
        cpus_per_task: CPU cores of a job.
        gpus_per_node: GPUs of a job; null: none, or as many as it uses with device=cuda.
        mem_gb: Memory in GB.
        account: Account.
        qos: Quality of service.
        constraint: Features of the nodes.
        nodelist: Nodes to use.
        exclude: Nodes to avoid.
        gres: Generic resources.
        comment: Comment.
        setup: Shell commands before the job, such as module load.
        additional_parameters: Other parameters of sbatch, by name.
        python: Command of Python on the nodes, such as one in a container; null: this one.
    """

    package: ClassVar[str] = "submitit"
    partition: str | None = None
    timeout_min: Count = 60
    signal_delay_s: PositiveInt = 120
    max_num_timeout: NonNegativeInt = 100
    array_parallelism: PositiveInt | None = None
    cpus_per_task: PositiveInt | None = None
    gpus_per_node: PositiveInt | None = None
    mem_gb: PositiveFloat | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    nodelist: str | None = None
    exclude: str | None = None
    gres: str | None = None
    comment: str | None = None
    setup: list[str] | None = None
    additional_parameters: dict[str, str | int] | None = None
    python: str | None = None


@dataclass(frozen=True, kw_only=True)
class RayOptions(LauncherOptions):
    """Options of ``ray``: tasks of a Ray cluster, or of this machine.

    Attributes:
        address: Address of the cluster, or auto; null: $RAY_ADDRESS, else a cluster of this machine alone.
        num_cpus: CPU cores of a job; null: 1, or `devices`.
        num_gpus: GPUs of a job, also a part of one; null: as without a launcher.
    """

    package: ClassVar[str] = "ray"
    address: str | None = None
    num_cpus: PositiveFloat | None = None
    num_gpus: PositiveFloat | None = None


LAUNCHERS: dict[str, type[LauncherOptions]] = {
    "joblib": JoblibOptions,
    "submitit_local": SubmititLocalOptions,
    "submitit_slurm": SubmititSlurmOptions,
    "ray": RayOptions,
}
"""Options by the name of the launcher; the extra that installs a launcher has the name of its package."""


def split_launcher(
    overrides: Sequence[str], config_dirs: Sequence[Path] = (), *, is_sweep: bool = True
) -> tuple[LauncherOptions | None, list[str]]:
    """Separate the choice of a launcher from the other overrides.

    Args:
        overrides: Overrides of a command line.
        config_dirs: Configuration directories of the user.
        is_sweep: Whether it is the command line of a sweep.

    Returns:
        Options of the launcher, and the other overrides. No options and all overrides if Hydra handles the command: no
        launcher is chosen, or one of Hydra's, or a sweeper of Hydra, which needs a launcher of Hydra.

    Raises:
        ConfigError: An option does not exist or has an invalid value, the package of the launcher is not installed, or
            there is no sweep.
    """
    is_launcher = [text.startswith((LAUNCHER_GROUP, OPTION_PREFIX)) for text in overrides]
    words = [text for text, is_own in zip(overrides, is_launcher, strict=True) if is_own]
    if not words or any(text.startswith(f"{SWEEPER_GROUP}=") for text in overrides):
        return None, list(overrides)
    items = {item.key_or_group: item for item in parse_overrides(words, config_dirs)}
    choice = items.pop(LAUNCHER_GROUP, None)
    name = "" if choice is None or choice.is_sweep_override() else str(choice.value())
    if name not in LAUNCHERS:
        return None, list(overrides)
    rest = [text for text, is_own in zip(overrides, is_launcher, strict=True) if not is_own]
    kind = LAUNCHERS[name]
    kinds = get_option_types(kind)
    problems = [] if is_sweep else [f"{LAUNCHER_GROUP}: it starts the jobs of a sweep, maybe of a single one; add -m"]
    values = {}
    for key, item in items.items():
        option = key.removeprefix(OPTION_PREFIX)
        if item.is_sweep_override():
            problems.append(f"{item.input_line}: the options of a launcher take one value")
        elif option not in kinds:
            hint = did_you_mean(option, kinds, OPTION_PREFIX) or ";"
            problems.append(f"{key}: unknown key{hint} {name} has {', '.join(kinds)}")
        else:
            values[option] = item.value()
            problems += check_value(key, values[option], kinds[option])
    if importlib.util.find_spec(kind.package) is None:
        problems.append(
            f"{LAUNCHER_GROUP}={name} needs the package {kind.package}; install it by: pip install"
            f" 'train-zoo[{kind.package}]'"
        )
    if problems:
        raise ConfigError(*problems)
    return kind(**values), rest


def get_option_types(kind: type[LauncherOptions]) -> dict[str, Any]:
    """Return the type of each option of a launcher."""
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}
