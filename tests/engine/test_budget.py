"""Steps that fit into a budget."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.tiny import LeastSquares, Linear, rows, tiny
from trainer.engine.budget import Rate, describe_shortage, measure_rate
from trainer.engine.process_group import SingleProcess
from trainer.engine.step_timer import StepTimer


def make_rate(**changes: float) -> Rate:
    values = {"step": 0.5, "epoch": 0.1, "validation": 2.0, "preview": 0.0, "steps_per_epoch": 10, "val_every": 2}
    return Rate(**values | changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [3.0, 9.9, 60.0, 61.3, 3600.0])
def test_the_chosen_steps_are_the_most_that_fit(seconds: float) -> None:
    rate = make_rate()
    steps = rate.choose_steps(seconds)
    assert rate.estimate_seconds(steps) <= seconds < rate.estimate_seconds(steps + 1)


@pytest.mark.parametrize("seconds", [-5.0, 0.0, 2.59])
def test_a_budget_that_is_too_short_leaves_no_step(seconds: float) -> None:
    assert make_rate().choose_steps(seconds) == 0
    assert make_rate().choose_steps(2.61) == 1


def test_the_least_budget_is_enough() -> None:
    text = describe_shortage(make_rate(), "1s", 2.75)
    assert "budget: 1s given, but loading and measuring take 2.75 s, and a step with its validation 2.6 s" in text
    least = float(text.rpartition(" ")[2].removesuffix("s"))
    assert make_rate().choose_steps(least - 2.75) >= 1


def test_every_part_of_an_epoch_has_its_time() -> None:
    # 25 steps are 3 epochs, validated after the second and the last one.
    assert make_rate(preview=1.0).estimate_seconds(25) == pytest.approx(25 * 0.5 + 3 * 0.1 + 2 * 2.0 + 2 * 1.0)
    assert make_rate(step=0.0, epoch=0.0, validation=0.0, preview=1.0).estimate_seconds(1000) == 9


def test_a_rate_is_measured_over_epochs_of_any_length() -> None:
    def make_trainer(callbacks: object) -> object:
        trainer = tiny(LeastSquares(Linear()), train=rows(4), batch_size=4, epochs=1000)
        return type(trainer)(
            trainer.task, trainer.param_groups, trainer.train_loader, trainer.val_loader, trainer.settings, callbacks
        )

    rate = measure_rate(make_trainer, SingleProcess(), 0.1)  # type: ignore[arg-type]
    assert rate.steps_per_epoch == 1
    assert min(rate.step, rate.validation) > 0


def test_a_timer_ends_training_after_its_steps() -> None:
    timer = StepTimer(0.0, warmup_steps=2, min_steps=4)
    trainer = tiny(LeastSquares(Linear()), train=rows(30), batch_size=3, epochs=5, callback=timer)
    trainer.fit()
    assert trainer.step == 2 + 4
    assert (len(timer.step_seconds), len(timer.first_step_seconds)) == (4, 0)
    assert torch.tensor(timer.step_seconds).gt(0).all()
