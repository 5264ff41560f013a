"""Learning-rate schedules against torch's OneCycleLR and closed forms."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.core.metric import Metric
from trainer.optim.lr_schedules import Constant, Cosine, OneCycle, Plateau, Step
from trainer.utils.errors import ConfigError

CYCLE: dict[str, Any] = {
    "pct_start": 0.3,
    "div_factor": 25.0,
    "final_div_factor": 1e4,
    "anneal": "cos",
    "cycle_momentum": False,
    "momentum_range": (0.85, 0.95),
    "warmup": 0,
}


def compute_torch_one_cycle(total: int, lr: float, options: dict[str, Any]) -> list[tuple[float, float]]:
    """Return (rate, momentum) of each step by torch."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    low, high = options["momentum_range"]
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=lr,
        total_steps=total,
        pct_start=options["pct_start"],
        anneal_strategy=options["anneal"],
        cycle_momentum=True,
        base_momentum=low,
        max_momentum=high,
        div_factor=options["div_factor"],
        final_div_factor=options["final_div_factor"],
    )
    values = []
    for step in range(total):
        values.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step < total - 1:
            schedule.step()
    return values


@given(
    total=st.integers(8, 120),
    pct=st.floats(0.15, 0.95),
    div=st.floats(1.5, 100),
    final=st.floats(1.5, 1e5),
    anneal=st.sampled_from(["cos", "linear"]),
)
@settings(max_examples=40, deadline=None)
@pytest.mark.slow
def test_one_cycle_matches_torch(total: int, pct: float, div: float, final: float, anneal: str) -> None:
    options = CYCLE | {"pct_start": pct, "div_factor": div, "final_div_factor": final, "anneal": anneal}
    schedule = OneCycle(0.01, total, **options | {"cycle_momentum": True})
    plain = OneCycle(0.01, total, **options)
    for step, (rate, momentum) in enumerate(compute_torch_one_cycle(total, 0.01, options)):
        actual, actual_momentum = schedule(step)
        assert actual == pytest.approx(rate, rel=1e-12)
        assert actual_momentum == pytest.approx(momentum, rel=1e-12)
        assert plain(step) == (actual, None)


@pytest.mark.parametrize("anneal", ["cos", "linear"])
@pytest.mark.parametrize(("div", "final"), [(1.0, 1e4), (1.0, 1.0), (25.0, 1.0)])
def test_one_cycle_with_level_ends_matches_torch(div: float, final: float, anneal: str) -> None:
    options = CYCLE | {"div_factor": div, "final_div_factor": final, "anneal": anneal, "cycle_momentum": True}
    schedule = OneCycle(0.01, 20, **options)
    values = [schedule(step) for step in range(20)]
    for actual, expected in zip(values, compute_torch_one_cycle(20, 0.01, options), strict=True):
        assert actual == pytest.approx(expected, rel=1e-12)
    assert values[-1][1] == pytest.approx(0.95), "the momentum returns to its initial value"


def test_one_cycle_of_190_steps_has_published_rates() -> None:
    schedule = OneCycle(0.01, 190, **CYCLE)
    rates = [schedule(step)[0] for step in range(190)]
    assert rates[0] == pytest.approx(4e-4, rel=1e-12)
    assert max(rates) == rates[56] == pytest.approx(0.01, rel=1e-12)
    assert rates[189] == pytest.approx(4e-8, rel=1e-12)
    assert min(rates) == rates[189]


@pytest.mark.parametrize("total", [2, 3, 4, 7, 190])
@pytest.mark.parametrize("anneal", ["cos", "linear"])
def test_one_cycle_ends_at_its_final_rate(total: int, anneal: str) -> None:
    schedule = OneCycle(0.01, total, **CYCLE | {"anneal": anneal})
    assert schedule(total - 1)[0] == pytest.approx(schedule.final_lr, rel=1e-9)
    assert schedule(total - 2)[0] > 2 * schedule.final_lr
    assert all(schedule.final_lr * (1 - 1e-9) <= schedule(step)[0] <= 0.01 for step in range(total + 3))


def test_cosine_matches_its_formula() -> None:
    schedule = Cosine(0.1, 11, min_lr=0.02, warmup=0)
    for step in range(11):
        expected = 0.02 + 0.08 * (1 + math.cos(math.pi * step / 10)) / 2
        assert schedule(step) == (pytest.approx(expected, rel=1e-12), None)
    assert schedule(0)[0] == pytest.approx(0.1)
    assert schedule(5)[0] == pytest.approx(0.06)
    assert schedule(10)[0] == pytest.approx(0.02)


def test_step_decays_at_fractions_of_the_run() -> None:
    schedule = Step(1.0, 10, every=0.25, gamma=0.1, warmup=0)
    exponents = [round(math.log10(1 / schedule(step)[0])) for step in range(10)]
    assert exponents == [0, 0, 0, 1, 1, 2, 2, 2, 3, 3]  # every 2.5 steps


def test_constant_keeps_the_rate() -> None:
    assert {Constant(0.3, 5, warmup=0)(step) for step in range(5)} == {(0.3, None)}


def test_plateau_reduces_lr_after_patience() -> None:
    schedule = Plateau(1.0, 100, factor=0.5, patience=2, min_lr=0.2, warmup=0)
    rates = []
    for score in (0.5, 0.6, 0.6, math.nan, 0.7, 0.7, 0.1, 0.2, 0.3):
        schedule.update_score(score, Metric("accuracy", higher_is_better=True))
        rates.append(schedule(0)[0])
    # .6 again and NaN bring nothing: drop. .7 is better; .7 and .1 are not: drop. .2 and .3: drop, but not under .2.
    assert rates == [1.0, 1.0, 1.0, 0.5, 0.5, 0.5, 0.25, 0.25, 0.2]


def test_plateau_follows_the_direction_of_the_metric() -> None:
    falling, rising = (Plateau(1.0, 9, factor=0.5, patience=1, min_lr=0.0, warmup=0) for _ in range(2))
    for score in (3.0, 2.0, 1.0):
        falling.update_score(score, Metric("mse", higher_is_better=False))
        rising.update_score(score, Metric("accuracy", higher_is_better=True))
    assert falling(0)[0] == 1.0
    assert rising(0)[0] == 0.25


def test_plateau_resumes_at_its_state() -> None:
    first = Plateau(1.0, 9, factor=0.5, patience=2, min_lr=0.0, warmup=0)
    for score in (1.0, 2.0, 2.0, 2.0):
        first.update_score(score, Metric("mse", higher_is_better=False))
    second = Plateau(1.0, 9, factor=0.5, patience=2, min_lr=0.0, warmup=0)
    second.load_state_dict(first.state_dict())
    for score in (1.5, 1.2, 0.9):
        first.update_score(score, Metric("mse", higher_is_better=False))
        second.update_score(score, Metric("mse", higher_is_better=False))
        assert first(3) == second(3)
        assert first.state_dict() == second.state_dict()


@pytest.mark.parametrize(
    "make_schedule",
    [
        lambda warmup: Constant(0.1, 10, warmup=warmup),
        lambda warmup: Cosine(0.1, 10, min_lr=0.0, warmup=warmup),
        lambda warmup: Step(0.1, 10, every=0.5, gamma=0.1, warmup=warmup),
        lambda warmup: OneCycle(0.1, 10, **CYCLE | {"warmup": warmup}),
        lambda warmup: Plateau(0.1, 10, factor=0.5, patience=2, min_lr=0.0, warmup=warmup),
    ],
)
def test_warmup_is_linear_and_delays_the_schedule(make_schedule: Any) -> None:
    schedule = make_schedule(4)
    start = schedule.compute_lr(0)[0]
    assert [schedule(step)[0] for step in range(5)] == pytest.approx([start * k / 5 for k in (1, 2, 3, 4, 5)])
    assert [schedule(step) for step in range(4, 10)] == [schedule.compute_lr(step) for step in range(6)]
    assert schedule.total_steps == 6
    with pytest.raises(
        ConfigError, match=r"scheduler\.warmup: 10 steps of a run of 10; it must be shorter than the run"
    ):
        make_schedule(10)
