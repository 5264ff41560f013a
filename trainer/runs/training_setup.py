"""Setup of the training of a run, the same in each of its processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from trainer.config import budget_keys
from trainer.config.run_config import Config
from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.metric import Metric
from trainer.core.task import Task
from trainer.engine import (
    activation_checkpointing,
    budget,
    dataset_loading,
    device,
    factory,
    sanity_check,
    split_digests,
)
from trainer.engine.callbacks import Callback
from trainer.engine.dataloader import Loader
from trainer.engine.early_stopping import EarlyStopping
from trainer.engine.member_strategy import Member
from trainer.engine.monitor import select_monitor
from trainer.engine.process_group import ProcessGroup
from trainer.engine.strategy import Strategy
from trainer.engine.strategy_factory import make_strategy
from trainer.engine.trainer import Trainer
from trainer.engine.weight_source import WeightSource
from trainer.runs import fid_feature_network, initial_weights
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count


@dataclass
class TrainingObjects:
    """Objects that a trainer is made of.

    Args:
        config: Configuration of the run.
        data: The data set.
        task: The task, on its device.
        loaders: Loaders of the splits, by name.
        monitor: Monitored metric.
        reported: Names of the metrics that the task reports.
        threads: Number of CPU threads.
        strategy: How the processes train together.
    """

    config: Config
    data: Dataset
    task: Task
    loaders: dict[str, Loader]
    monitor: Metric
    reported: Sequence[str]
    threads: int
    strategy: Strategy[Any]

    def make_trainer(self, callbacks: Sequence[Callback]) -> Trainer:
        """Build the trainer, with optimizers and schedules."""
        settings, train = self.config.settings, self.loaders["train"]
        self.strategy.shard_model(self.task)
        param_groups = factory.make_param_groups(self.config.tree, settings, self.task, train, self.strategy)
        return Trainer(self.task, param_groups, train, self.loaders["val"], settings, callbacks, self.strategy)

    def describe_processes(self) -> list[str]:
        """Return lines about the processes that train together and the parts of a batch; none for one process."""
        size = self.strategy.process_group.size
        shards = self.config.settings.shards or size
        if shards == 1:
            return []
        parts = "" if shards == size else f", {shards} shards"
        processes = "1 process" if size == 1 else f"{size} processes"
        lines = [f"{processes}{parts}, {format_count(self.threads, 'thread')} each"]
        if self.strategy.optimizer_group is not None:
            lines.append(f"each process holds 1/{size} of the state of the optimizer")
        if not self.strategy.has_full_model:
            numel = sum(p.numel() for p in self.task.parameters())
            lines.append(f"each process holds a shard of about {numel // size:,} parameters")
        if size > 1 and len(self.loaders["train"].split) == 1:
            lines.append("devices: a batch is one whole graph, which one process computes while the others wait")
        return lines

    def make_early_stopping(self) -> list[Callback]:
        """Build the callback of early stopping, if there is one."""
        patience = self.config.settings.patience
        return [] if patience is None else [EarlyStopping(patience)]


def build_training(
    config: Config,
    state: Mapping[str, Any] | None,
    process_group: ProcessGroup,
    train: Callable[[Config, Path], object],
    announce: Callable[[Sequence[str]], None],
    member: Member | None = None,
) -> TrainingObjects:
    """Build data set, task and loaders, and set device and threads of this process.

    With a budget, the number of steps is measured first, with objects that are not used again: the run itself has the
    same bits as one with this ``max_steps``.

    Args:
        config: Configuration of the run.
        state: Last state of the run to resume; None for a new run.
        process_group: Processes that train together.
        train: Trains a nested run, the feature network of sample metrics, if the task needs one.
        announce: Prints lines about the initial weights and the number of steps.
        member: What the run shares with others that are trained with it; None for a run alone.
    """
    if not budget_keys.is_unfixed(config.tree):
        data, strategy = (None, None) if member is None else (member.data, member.strategy)
        return build_objects(config, state, process_group, train, announce, data, strategy)
    started_at = time.monotonic()
    provisional = budget_keys.with_fixed_steps(config, budget.PROVISIONAL_STEPS)
    measured = build_objects(provisional, state, process_group, train, announce)
    fixed, data = budget_keys.with_fixed_steps(config, _fix_steps(measured, started_at, announce)), measured.data
    del measured  # its memory is needed again
    return build_objects(fixed, state, process_group, train, lambda _: None, data)


def _fix_steps(training: TrainingObjects, started_at: float, announce: Callable[[Sequence[str]], None]) -> int:
    """Return the number of steps for which the time of a budget lasts, from a measurement.

    Args:
        training: Objects of the run with a provisional number of steps.
        started_at: Start of the budget by the monotonic clock.
        announce: Prints lines.

    Raises:
        ConfigError: The time is too short for a step.
    """
    value = training.config.settings.budget
    assert value is not None
    seconds, group = budget_keys.parse_seconds(value), training.strategy.process_group
    rate = budget.measure_rate(
        lambda callbacks: training.make_trainer([*callbacks, *training.strategy.make_callbacks()]), group, seconds
    )
    spent = time.monotonic() - started_at
    steps: int = group.broadcast_object(rate.choose_steps(seconds - spent))
    if not steps:
        raise ConfigError(budget.describe_shortage(rate, str(value), spent))
    announce([rate.describe(steps, f"budget={value}", spent)])
    return steps


def build_objects(
    config: Config,
    state: Mapping[str, Any] | None,
    process_group: ProcessGroup,
    train: Callable[[Config, Path], object],
    announce: Callable[[Sequence[str]], None],
    data: Dataset | None = None,
    strategy: Strategy[Any] | None = None,
) -> TrainingObjects:
    """Build the objects of a run whose number of steps is known.

    Args:
        config: Configuration of the run.
        state: Last state of the run to resume; None for a new run.
        process_group: Processes that train together.
        train: Trains a nested run, the feature network of sample metrics, if the task needs one.
        announce: Prints lines about the initial weights.
        data: The data set, if it is loaded already; None to load it.
        strategy: How gradients are computed; None to choose it by the configuration.
    """
    settings = config.settings
    select = device.select_device if state is None else device.select_available_device
    target_device = device.select_process_device(select(settings.device), process_group)
    torch.set_num_threads(1)
    device.keep_freed_memory()
    source = initial_weights.load_source(config) if state is None else None
    if not process_group.is_main:
        process_group.broadcast_object(None)  # process 0 downloads files and trains nested runs first
    data = data or _load_data(config, state, source, process_group)
    fid_feature_network.attach_feature_extractor(config, data, train)
    if process_group.is_main:
        process_group.broadcast_object(None)
    # After loading the data: its imports may draw random numbers, once per process.
    rng.seed_everything(settings.seed)
    task = _make_task(config, data, target_device, state and state["run_metadata"].get("architecture"))
    announce([] if source is None else initial_weights.initialize_task(task, config, data, source))
    loaders = factory.make_loaders(config.tree, data, settings, target_device)
    reported = sanity_check.run_sanity_check(task, loaders["train"], config.tree["model"], settings.precision)
    monitor = select_monitor(task, settings.monitor, reported)
    batch = sanity_check.make_small_batch(loaders["train"])
    if process_group.size > 1:
        compare_rows(data, process_group)
    chosen = settings.threads or device.choose_threads(task, batch, process_group.local_size)
    threads = process_group.broadcast_object(state["run_metadata"]["threads"] if state else chosen)
    torch.set_num_threads(threads)
    strategy = strategy or make_strategy(settings, process_group)
    return TrainingObjects(config, data, task, loaders, monitor, reported, threads, strategy)


def refuse_nested_run(config: Config, path: Path) -> None:
    """Train no classifier for the scores of samples, for which the configuration asks no more.

    Args:
        config: Configuration of the nested run.
        path: Its directory.
    """
    raise AssertionError(f"{path} of {config.names['data']} would be trained first")


def compare_rows(data: Dataset, process_group: ProcessGroup) -> None:
    """Compare the rows of all processes, each of which has loaded the data for itself.

    Args:
        data: The data set of this process.
        process_group: Processes that train together.

    Raises:
        ConfigError: They differ.
    """
    digests = process_group.all_gather_objects(split_digests.digest_splits(data))
    for rank, digest in enumerate(digests):
        different = split_digests.find_differences(digests[0], digest)
        if different:
            raise ConfigError(
                f"data: process {rank} has loaded other {' and '.join(different)} rows than process 0; a data set must"
                " be the same in each process: give its random numbers a seed, and sort what comes from a set"
            )


def _load_data(
    config: Config, state: Mapping[str, Any] | None, source: WeightSource | None, process_group: ProcessGroup
) -> Dataset:
    if state is None:
        return initial_weights.load_dataset(config, source)
    # One process reads every byte of the files; the rows of all are compared later.
    return dataset_loading.reload_dataset(config, state["data"], compares_files=process_group.is_main)


def _make_task(
    config: Config, data: Dataset, target_device: torch.device, architecture: Mapping[str, str] | None
) -> Task:
    with device.explain_model_memory():
        task = factory.make_task(config.tree, data, config.names, architecture).to(target_device)
    task.validate_decision_targets(data.val.get_targets())
    if config.settings.checkpoint_activations:
        activation_checkpointing.checkpoint_activations(task.model)
    return task
