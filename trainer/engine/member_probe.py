"""A short measurement of whether training several members together is faster than training one after another."""

from __future__ import annotations

import random
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext
from copy import copy, deepcopy
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.task import Task
from trainer.engine.dataloader import Loader
from trainer.engine.member_dropout import WithoutDropout
from trainer.engine.member_gradient import MemberGradient
from trainer.engine.member_strategy import MemberMatrix, MemberStrategy
from trainer.engine.member_updates import compute_loss, compute_separately
from trainer.engine.step_timer import synchronize
from trainer.engine.strategy import SingleDevice
from trainer.engine.trainer import Trainer
from trainer.engine.update import Update
from trainer.utils.time_text import format_seconds

NUM_MEMBERS = 2, 8
"""Numbers of members whose steps are measured: the time is linear in the number."""
NUM_REPEATS = 5
"""Steps of which the fastest one counts, so that other programs of the machine disturb less."""
MIN_GAIN = 1.2
"""Least ratio of the times one after another and together at which members are trained together."""
MAX_STEP_SECONDS = 0.05
"""Longest step on a CPU that is measured: a longer one consists of arithmetic, which does not get less."""


@dataclass(frozen=True)
class Verdict:
    """Whether members are trained together.

    Args:
        is_joint: Whether they are.
        reason: Why, as the end of a sentence.
    """

    is_joint: bool
    reason: str


def probe_members(
    task: Task, make_trainer: Callable[[Task, SingleDevice], Trainer], seeds: Sequence[int], *, is_timed: bool
) -> Verdict:
    """Decide whether members are trained together; random numbers and the task stay as they are.

    Args:
        task: Task of one of the members, newly built.
        make_trainer: Makes the trainer of a copy of the task.
        seeds: Seed of each member; those with the same one take the same batches.
        is_timed: Whether it must be faster, or only possible.
    """
    with rng.preserve_generators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of operations that are slow together, which is measured
        try:
            return _probe(task, make_trainer, seeds, is_timed)
        except (RuntimeError, ValueError, TypeError, NotImplementedError) as error:
            return Verdict(False, f"their loss cannot be computed together ({' '.join(str(error).split())[:120]})")


def _probe(
    task: Task, make_trainer: Callable[[Task, SingleDevice], Trainer], seeds: Sequence[int], is_timed: bool
) -> Verdict:
    if len(task.param_groups()) > 1:
        return Verdict(False, f"{type(task).__name__} has several parameter groups")
    single = make_trainer(deepcopy(task), SingleDevice())
    batches = {seed: next(_make_loader(single, seed).iter_epoch(0)) for seed in {*seeds[: NUM_MEMBERS[-1]]}}
    single.task.train()
    batch = batches[seeds[0]]
    if _draws_random_numbers(Update(single, single.param_groups["model"], [batch])):
        return Verdict(False, "their loss draws random numbers other than those of dropout on a CPU")
    few = _JointStep(task, make_trainer, [batches[seed] for seed in seeds[: NUM_MEMBERS[0]]])
    if not few.is_correct():
        return Verdict(False, "their losses or gradients differ when they are computed together")
    if not is_timed:
        return Verdict(True, "")
    update = Update(single, single.param_groups["model"], [batch])
    alone = _time_step([update], lambda: single.update_param_group(update.group, update.batches))
    if single.device.type == "cpu" and alone > MAX_STEP_SECONDS:
        return Verdict(False, f"a step of one takes {format_seconds(alone)}, which is mostly arithmetic")
    loading = _time_loading(single)
    together = _time_step(few.updates, few.take)
    if len(seeds) > NUM_MEMBERS[0]:
        many = _JointStep(task, make_trainer, [batches[seed] for seed in seeds[: NUM_MEMBERS[1]]])
        together_many = _time_step(many.updates, many.take)
        slope = max(0.0, together_many - together) / (len(many.updates) - len(few.updates))
        together = together_many + slope * (len(seeds) - len(many.updates))
    together += loading * len({*seeds})
    one_by_one = len(seeds) * (alone + loading)
    times = f"a step of all takes {format_seconds(together)} together, {format_seconds(one_by_one)} one by one"
    return Verdict(one_by_one >= MIN_GAIN * together, times)


class _JointStep:
    """Step of several members.

    Args:
        task: Task that each of them has a copy of.
        make_trainer: Makes the trainer of a copy.
        batches: Batch of each member.
    """

    def __init__(self, task: Task, make_trainer: Callable[[Task, SingleDevice], Trainer], batches: Sequence[Batch]):
        matrix = MemberMatrix(len(batches))
        trainers = [make_trainer(deepcopy(task), MemberStrategy(row, matrix, None)) for row in range(len(batches))]
        for trainer in trainers:
            trainer.strategy.start(trainer)
            trainer.task.train()
        pairs = zip(trainers, batches, strict=True)
        self.updates = [Update(trainer, trainer.param_groups["model"], [batch]) for trainer, batch in pairs]
        for update in self.updates:
            compute_loss(update)  # a model may prepare constants of a graph in its first step
        self._expected = compute_separately(self.updates)
        self._gradient = MemberGradient(self.updates, range(len(batches)), matrix)

    def is_correct(self) -> bool:
        """Return whether losses and gradients are those that each member computes alone, before any step."""
        losses = self._compute()
        return self._expected.matches(losses, self.updates[0].group.params.grad)

    def take(self) -> None:
        """Take a step."""
        losses = self._compute()
        for update, loss in zip(self.updates, losses.unbind(), strict=True):
            update.trainer.apply_gradient(update.group, update.batches, loss)

    def _compute(self) -> Tensor:
        return self._gradient.compute(self.updates, range(len(self.updates)), self._expected.dropout_rates)


def _make_loader(trainer: Trainer, seed: int) -> Loader:
    """Return the training loader of a member with another seed."""
    loader = copy(trainer.train_loader)
    loader.seed = seed
    return loader


def _time_loading(trainer: Trainer) -> float:
    """Return the seconds of a batch, from those of the first epoch that are loaded within a short time."""
    clock, num_batches = _get_clock(trainer.device), 0
    started_at = clock()
    with closing(trainer.train_loader.iter_epoch(0)) as batches:
        for _ in batches:
            num_batches += 1
            if clock() - started_at > MAX_STEP_SECONDS:
                break
    return (clock() - started_at) / max(num_batches, 1)


def _draws_random_numbers(update: Update) -> bool:
    """Return whether a loss changes a generator of torch, Python or numpy, on the CPU apart from dropout."""
    device = update.trainer.device

    def read_states() -> list[object]:
        numpy_state = np.random.get_state(legacy=False)
        return [random.getstate(), repr(numpy_state), *(state.tolist() for state in rng.get_torch_rng_states(device))]

    before = read_states()
    with WithoutDropout() if device.type == "cpu" else nullcontext():
        compute_loss(update)
    return before != read_states()


def _time_step(updates: Sequence[Update], take_step: Callable[[], None]) -> float:
    """Return the seconds of the fastest of a few steps; of a CPU without those in which another program used it.

    Each step starts from the same weights, because those of a rate that is far too high are soon not finite.

    Args:
        updates: Updates of the step.
        take_step: Takes it.
    """
    device = updates[0].trainer.device
    clock = _get_clock(device)
    initial = [update.group.params.data.clone() for update in updates]
    times: list[float] = []
    for number in range(NUM_REPEATS + 1):
        for update, weights in zip(updates, initial, strict=True):
            update.group.params.data.copy_(weights)
        synchronize(device)
        started_at = clock()
        take_step()
        synchronize(device)
        if number:  # the first one warms up
            times.append(clock() - started_at)
            if times[0] > MAX_STEP_SECONDS:
                break
    return min(times)


def _get_clock(device: torch.device) -> Callable[[], float]:
    return time.process_time if device.type == "cpu" else time.perf_counter
