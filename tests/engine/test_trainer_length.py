"""Length of training: the steps of a run, and the steps of the schedule of each parameter group."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.helpers.tiny import CYCLE, LeastSquares, Linear, StopAt, rows, tiny
from trainer.core.batch import Batch
from trainer.engine.callbacks import CallbackList
from trainer.engine.trainer import Trainer
from trainer.utils.errors import Interrupted


class RecordingSchedule:
    """Wraps a schedule and records its steps and last learning rate."""

    def __init__(self, inner: Any):
        self.inner = inner
        self.steps: list[int] = []
        self.rate = math.nan

    def __call__(self, step: int) -> tuple[float, float | None]:
        self.steps.append(step)
        self.rate, momentum = self.inner(step)
        return self.rate, momentum

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


def record_schedules(trainer: Trainer) -> dict[str, RecordingSchedule]:
    for group in trainer.param_groups.values():
        group.schedule = RecordingSchedule(group.schedule)  # type: ignore[assignment]
    return {name: group.schedule for name, group in trainer.param_groups.items()}  # type: ignore[misc]


class Alternating(LeastSquares):
    """A critic that updates every step and a generator that updates every ``n``-th."""

    def __init__(self, n: int):
        super().__init__(Linear())
        self.other = Linear()
        self.n = n

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"critic": self.model.parameters(), "generator": self.other.parameters()}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("critic", "generator") if step % self.n == self.n - 1 else ("critic",)

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"critic": step, "generator": step // self.n}

    def loss(self, batch: Batch, group: str) -> Tensor:
        return (self.error(batch) + self.other(batch.inputs["x"])).square().mean()


lengths = {
    "n": st.integers(1, 14),
    "batch_size": st.integers(1, 5),
    "accumulate": st.integers(1, 4),
    "drop_last": st.booleans(),
    "epochs": st.integers(1, 3),
    "max_steps": st.none() | st.integers(1, 9),
    "stop": st.none() | st.integers(1, 12),
    "generator_every": st.none() | st.integers(1, 3),
}


@given(**lengths)
@examples(max_examples=60, deadline=None)
@pytest.mark.slow
def test_a_schedule_ends_on_the_last_step_of_its_group(
    n: int,
    batch_size: int,
    accumulate: int,
    drop_last: bool,
    epochs: int,
    max_steps: int | None,
    stop: int | None,
    generator_every: int | None,
) -> None:
    def make(callback: Any = None) -> Trainer:
        return tiny(
            LeastSquares(Linear()) if generator_every is None else Alternating(generator_every),
            train=rows(n),
            scheduler=CYCLE,
            callback=callback,
            batch_size=batch_size,
            accumulate=accumulate,
            drop_last=drop_last and n >= batch_size,
            epochs=epochs,
            max_steps=max_steps,
        )

    first = make(StopAt(stop or 0))
    schedules = [record_schedules(first)]
    last = first
    if stop is not None and stop < first.total_steps:
        with pytest.raises(Interrupted):
            first.fit()
        last = make()
        last.load_state_dict(copy.deepcopy(first.state_dict()), None)
        schedules.append(record_schedules(last))
    elif stop is not None:
        first.callbacks = CallbackList()
    last.fit()
    assert last.step == last.total_steps == (max_steps or epochs * math.ceil(len(first.train_loader) / accumulate))
    assert len([row for row in last.history if row["step"] == last.step]) == 1
    for name, group in last.param_groups.items():
        schedule = schedules[-1][name].inner
        steps = [step for part in schedules for step in part[name].steps]
        assert steps == list(range(schedule.total_steps)) == list(range(group.num_updates))
        if schedule.total_steps > 1:
            assert group.lr == schedule.final_lr
    if max_steps is None:
        assert last.epoch == epochs


@pytest.mark.parametrize(
    ("changes", "validated"),
    [
        ({"epochs": 5, "val_every": 1}, [(1, 4), (2, 8), (3, 12), (4, 16), (5, 20)]),
        ({"epochs": 5, "val_every": 2}, [(2, 8), (4, 16), (5, 20)]),
        ({"max_steps": 7}, [(1, 4), (2, 7)]),
        ({"max_steps": 8}, [(1, 4), (2, 8)]),
        ({"max_steps": 3, "val_every": 9}, [(1, 3)]),
    ],
)
def test_validation_steps_and_last_step(changes: dict[str, Any], validated: list[tuple[int, int]]) -> None:
    trainer = tiny(**changes)
    trainer.fit()
    assert [(row["epoch"], row["step"]) for row in trainer.history] == validated
    assert trainer.step == validated[-1][1]
