"""Mean time of the steps of a run, from its first ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from torch import Tensor, nn

from tests.helpers.tiny import LeastSquares, Linear, rows, tiny
from trainer.core.batch import Batch
from trainer.engine.callbacks import CallbackList
from trainer.engine.step_timer import StepTimer

CRITIC, GENERATOR = 1.0, 8.0


class TimedGroups(LeastSquares):
    """A critic that every step updates, and a generator that every fifth one does, on a clock of their own."""

    def __init__(self) -> None:
        super().__init__(Linear())
        self.other = Linear()
        self.now = 0.0

    def param_groups(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"critic": self.model.parameters(), "generator": self.other.parameters()}

    def active_groups(self, step: int) -> tuple[str, ...]:
        return ("critic",) if (step + 1) % 5 else ("critic", "generator")

    def count_active_steps(self, step: int) -> dict[str, int]:
        return {"critic": step, "generator": step // 5}

    def loss(self, batch: Batch, group: str) -> Tensor:
        self.now += CRITIC if group == "critic" else GENERATOR
        return (self.error(batch) + self.other(batch.inputs["x"])).square().mean()


@pytest.mark.parametrize("num_timed", [3, 6, 7, 20])
def test_steps_count_as_often_as_the_run_updates_their_groups(num_timed: int) -> None:
    """Of 3, 6 and 7 steps after three to warm up, one or two update the generator, not a fifth."""
    task = TimedGroups()
    timer = StepTimer(0.0, min_steps=num_timed, clock=lambda: task.now)
    trainer = tiny(task, train=rows(200), batch_size=2, epochs=5)
    trainer.callbacks = CallbackList([timer])
    trainer.fit()
    assert len(timer.step_seconds) == num_timed
    assert timer.mean_seconds == pytest.approx(CRITIC + GENERATOR / 5)
