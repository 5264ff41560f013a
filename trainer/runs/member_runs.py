"""Runs of one process that are trained together, each in its own ordinary run directory."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

from trainer.config import plugins, secret_masking
from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine.member_probe import Verdict, probe_members
from trainer.engine.member_strategy import Member, MemberMatrix, MemberStrategy, SharedBatches
from trainer.engine.member_updates import MemberLoop, take_member_updates
from trainer.engine.process_group import SingleProcess
from trainer.engine.strategy import SingleDevice
from trainer.engine.trainer import Trainer
from trainer.engine.update import Update
from trainer.runs import member_failure, member_groups, run_dir, train
from trainer.runs.training_setup import TrainingObjects, build_objects, refuse_nested_run
from trainer.utils import signals
from trainer.utils.code_version import read_code_version
from trainer.utils.errors import Interrupted, UserError
from trainer.viz.console import rewrite_output

EndHook = Callable[[Exception | None], None]
"""Called at the end of a run, with its error if it has failed."""


@dataclass(frozen=True)
class MemberRun:
    """A run that is trained together with others.

    Args:
        config: Its configuration.
        path: Its run directory.
        output: File that its lines are printed to.
        on_end: Called at its end, with its error if it has failed.
        lock: Open lock of its directory, if that was claimed.
        quiet: Whether it prints only a progress bar, as a nested run.
    """

    config: Config
    path: Path
    output: IO[str]
    on_end: EndHook
    lock: IO[str] | None = None
    quiet: bool = False


class SharedStopFlag(signals.StopFlag):
    """Flag of several runs, which stop only at safe points: one may save its state between the steps of another."""

    def __init__(self) -> None:
        super().__init__()
        self.is_deferred = True

    def print_on_exit(self, checkpoint: Path, command: str) -> None:
        """Print nothing: there is no single run to resume.

        Args:
            checkpoint: Ignored.
            command: Ignored.
        """

    def stop_immediately(self) -> None:
        self.raise_if_stopped()


def build_shared_objects(config: Config) -> TrainingObjects:
    """Build what the runs of a group have in common, and a task like theirs.

    Args:
        config: Configuration of one of them.

    Raises:
        UserError: The data set cannot be loaded, or the model cannot be built.
        AssertionError: A nested run must be trained first.
    """
    plugins.declare_plugins(config.settings.plugins, Path(config.working_dir))
    return build_objects(with_fixed_threads(config), None, SingleProcess(), refuse_nested_run, lambda _: None)


def with_fixed_threads(config: Config) -> Config:
    """Return the configuration with its number of threads, which a process cannot choose for each of its runs."""
    return replace(config, settings=replace(config.settings, threads=config.settings.threads or 1))


def choose_members(shared: TrainingObjects, configs: Sequence[Config], *, is_timed: bool) -> Verdict:
    """Decide whether the runs of a group are trained together.

    Args:
        shared: Result of ``build_shared_objects``.
        configs: Configurations of the runs.
        is_timed: Whether it must be faster, or only possible.
    """

    def make_trainer(task: Task, strategy: SingleDevice) -> Trainer:
        return replace(shared, task=task, strategy=strategy).make_trainer([])

    return probe_members(shared.task, make_trainer, [config.settings.seed for config in configs], is_timed=is_timed)


def train_together(runs: Sequence[MemberRun], data: Dataset | None, *, draws_figures: bool) -> None:
    """Train runs of a group together, each to its own end.

    Args:
        runs: The runs.
        data: Data set of all of them; None if each loads its own.
        draws_figures: Whether each draws its figures, which may take longer than its training.
    """
    matrix, batches, flag = MemberMatrix(len(runs)), SharedBatches(), SharedStopFlag()
    code = read_code_version()
    with ExitStack() as stack:
        stack.enter_context(signals.signal_handler(flag.on_signal))
        stack.callback(_print_to, sys.stdout, sys.stderr)
        loops = []
        for row, run in enumerate(runs):
            strategy = MemberStrategy(row, matrix, None if data is None else batches)
            loop = _iter_run(run, Member(strategy, data, draws_figures, code), flag)
            loops.append(MemberLoop(row, loop, copy_context(), partial(_print_to, run.output, run.output)))
            loops[-1].advance()
        take_member_updates(loops, matrix)


def _print_to(output: IO[str], errors: IO[str]) -> None:
    sys.stdout, sys.stderr = output, errors


def _iter_run(run: MemberRun, member: Member, flag: signals.StopFlag) -> Generator[Update, None, None]:
    """Execute one run, whose errors do not end the others."""
    hide = partial(secret_masking.hide_values, tree=run.config.raw)
    try:
        with rewrite_output(hide):
            yield from train.iter_run(
                with_fixed_threads(run.config), run.path, quiet=run.quiet, lock=run.lock, member=member, flag=flag
            )
    except UserError as error:
        if not run.quiet:  # the outer run reports it
            print(hide(str(error)))
        run.on_end(error)
    except Exception as error:
        if not run.quiet:
            print(hide(traceback.format_exc()))
        run.on_end(error)
    else:
        run.on_end(None)


def train_members(configs: Sequence[Config], paths: Sequence[Path]) -> None:
    """Train several nested runs in this process, each in its own run directory, from its last checkpoint if it has one.

    Those that differ only in numbers are trained together if that is faster, the others one after another. Finished
    runs are skipped. A run that fails does not stop the others.

    Args:
        configs: Configuration of each run.
        paths: Run directory of each run, which exists.

    Raises:
        Interrupted: A signal has stopped a run; those after it were not started.
        UserError: Runs have failed.
    """
    pending = [
        (config, path)
        for config, path in zip(configs, paths, strict=True)
        if run_dir.read_results(path).get("status") != "finished"
    ]
    failures: dict[Path, Exception] = {}
    together: set[int] = set()
    for indices in member_groups.group_configs([config for config, _ in pending]):
        if _train_group([pending[index] for index in indices], failures):
            together |= {*indices}
    for index, (config, path) in enumerate(pending):
        if index not in together:
            try:
                train.execute_run(config, path, quiet=True)
            except Exception as error:
                _record_failure(failures, path, error)
    if failures:
        raise member_failure.join_failures({path: failures[path] for path in paths if path in failures}, len(paths))


def _record_failure(failures: dict[Path, Exception], path: Path, error: Exception) -> None:
    """Record why a run has failed.

    Raises:
        Interrupted: A signal has stopped it.
    """
    if isinstance(error, Interrupted):
        raise error
    traceback.clear_frames(error.__traceback__)  # which hold its model and data
    failures[path] = error


def _train_group(runs: Sequence[tuple[Config, Path]], failures: dict[Path, Exception]) -> bool:
    """Train runs of a group together if that is faster; return whether it is.

    Args:
        runs: Configuration and run directory of each run.
        failures: Filled with the errors of the runs that fail, by run directory.

    Raises:
        Interrupted: A signal has stopped the runs.
        ConfigError: The data or the model that all of them have is rejected.
    """
    configs, errors = [config for config, _ in runs], dict[Path, Exception]()
    shared = build_shared_objects(configs[0])
    if not choose_members(shared, configs, is_timed=True).is_joint:
        return False

    def record_end(error: Exception | None, path: Path) -> None:
        if error is not None:
            errors[path] = error

    with open(os.devnull, "w", encoding="utf-8") as devnull:
        # One of them shows its progress bar.
        outputs = [sys.stdout, *[devnull] * (len(runs) - 1)]
        members = [
            MemberRun(config, path, output, partial(record_end, path=path), quiet=True)
            for (config, path), output in zip(runs, outputs, strict=True)
        ]
        train_together(members, shared.data, draws_figures=True)
    for path, error in errors.items():
        _record_failure(failures, path, error)
    return True
