"""Schedulers of torch: rates of every step against torch, and resuming."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from trainer.config import torch_classes
from trainer.core.metric import Metric
from trainer.optim.torch_schedules import TorchSchedule

TOTAL, LR = 30, 0.2
CASES: dict[str, dict[str, Any]] = {
    "ConstantLR": {"factor": 0.5, "total_iters": 4},
    "CosineAnnealingLR": {"T_max": 7, "eta_min": 0.01},
    "CosineAnnealingWarmRestarts": {"T_0": 4, "T_mult": 2, "eta_min": 0.01},
    "CyclicLR": {"base_lr": 0.02, "max_lr": 0.2, "step_size_up": 3, "mode": "triangular2", "cycle_momentum": True},
    "ExponentialLR": {"gamma": 0.9},
    "LinearLR": {"start_factor": 0.5, "end_factor": 0.1, "total_iters": 9},
    "MultiStepLR": {"milestones": [3, 11], "gamma": 0.1},
    "OneCycleLR": {"max_lr": 0.3, "total_steps": TOTAL},
    "PolynomialLR": {"total_iters": 20, "power": 2.0},
    "StepLR": {"step_size": 5, "gamma": 0.5},
}
SCORES = [0.5, 0.6, 0.6, 0.55, 0.5, 0.7, 0.6, 0.6, 0.6, 0.6, 0.6]
PLATEAU = {"factor": 0.5, "patience": 1, "cooldown": 1}


def build_schedule(name: str, lr: float = LR, total: int = TOTAL, warmup: int = 0, **options: Any) -> TorchSchedule:
    arguments = CASES.get(name, PLATEAU) | options
    return TorchSchedule(getattr(lr_scheduler, name), arguments, lr, total, warmup, configured_lr=LR)


def compute_torch_rates(name: str) -> list[tuple[float, float]]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR, momentum=0.9)
    scheduler = getattr(lr_scheduler, name)(optimizer, **CASES[name])
    values = []
    for step in range(TOTAL):
        values.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step < TOTAL - 1:
            scheduler.step()
    return values


def test_every_scheduler_of_torch_is_tested() -> None:
    usable = set(torch_classes.list_classes("scheduler")) - torch_classes.UNSUPPORTED.keys()
    assert usable == {*CASES, "ReduceLROnPlateau"}


@pytest.mark.parametrize("name", CASES)
def test_learning_rates_match_torch(name: str) -> None:
    schedule = build_schedule(name)
    actual = [schedule(step) for step in range(TOTAL)]
    expected = compute_torch_rates(name)
    assert [rate for rate, _ in actual] == [rate for rate, _ in expected]
    assert len({rate for rate, _ in actual}) > 1
    if name in ("CyclicLR", "OneCycleLR"):
        assert [momentum for _, momentum in actual] == [momentum for _, momentum in expected]
    else:
        assert {momentum for _, momentum in actual} == {None}


@pytest.mark.parametrize("stop", [0, 1, 7, 12])
@pytest.mark.parametrize("name", CASES)
def test_schedule_resumes_at_its_step(name: str, stop: int) -> None:
    uninterrupted, first, resumed = build_schedule(name), build_schedule(name), build_schedule(name)
    for step in range(stop + 1):
        first(step)
    resumed.load_state_dict(first.state_dict())
    assert [resumed(step) for step in range(stop, TOTAL)] == [uninterrupted(step) for step in range(TOTAL)][stop:]


@pytest.mark.parametrize("name", CASES)
def test_schedule_can_be_evaluated_at_earlier_steps(name: str) -> None:
    schedule = build_schedule(name)
    forward = [schedule(step) for step in range(TOTAL)]
    assert [schedule(step) for step in reversed(range(TOTAL))] == forward[::-1]


def test_plateau_at_an_earlier_step_raises() -> None:
    schedule = build_schedule("ReduceLROnPlateau", warmup=2)
    for step in range(6):
        schedule(step)
    with pytest.raises(ValueError, match="step: 2 given after 3; a schedule that follows the score"):
        schedule(4)
    schedule.load_state_dict(schedule.state_dict())
    assert schedule(4)[0] == LR


@pytest.mark.parametrize("name", CASES)
def test_state_dict_has_numbers_of_constant_type(name: str) -> None:
    schedule = build_schedule(name)
    before = schedule.state_dict()
    for step in range(13):
        schedule(step)
    after = schedule.state_dict()
    assert {key: type(value) for key, value in before.items()} == {key: type(value) for key, value in after.items()}
    assert {type(value) for value in after.values()} <= {int, float, type(None)}


@pytest.mark.parametrize(("metric", "direction"), [("accuracy", "max"), ("loss", "min")])
@pytest.mark.parametrize("stop", [0, 1, 4, 9])
def test_a_plateau_follows_the_score_in_its_direction(metric: str, direction: str, stop: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR)
    optimizer.step()
    torch_schedule = lr_scheduler.ReduceLROnPlateau(optimizer, mode=direction, **PLATEAU)  # type: ignore[arg-type]
    schedule = build_schedule("ReduceLROnPlateau")
    rates = []
    for place, score in enumerate(SCORES):
        if place == stop:
            state = schedule.state_dict()
            schedule = build_schedule("ReduceLROnPlateau")
            schedule.load_state_dict(state)
        torch_schedule.step(score)
        schedule.update_score(score, Metric(metric, higher_is_better=direction == "max"))
        rates.append(schedule(place)[0])
        assert rates[-1] == optimizer.param_groups[0]["lr"]
    assert len(set(rates)) > 1


@pytest.mark.parametrize(
    ("name", "options", "end"),
    [
        ("CosineAnnealingLR", {"T_max": None}, 0.01),
        ("LinearLR", {"total_iters": None}, 0.02),
        ("PolynomialLR", {"total_iters": None}, 0.0),
        ("OneCycleLR", {"total_steps": None}, 0.3 / 25 / 1e4),
    ],
)
@pytest.mark.parametrize("warmup", [0, 5])
def test_null_length_is_the_length_of_the_run(name: str, options: dict[str, Any], end: float, warmup: int) -> None:
    schedule = build_schedule(name, warmup=warmup, **options)
    rates = [schedule(step)[0] for step in range(TOTAL)]
    assert rates[-1] == pytest.approx(end, abs=1e-9)
    assert all(rate > end + 1e-9 for rate in rates[warmup:-1])
    if warmup:
        assert rates[: warmup + 1] == pytest.approx([rates[warmup] * (step + 1) / 6 for step in range(6)])


def test_a_param_group_with_another_lr_scales_the_same_schedule() -> None:
    full, half = build_schedule("CosineAnnealingLR"), build_schedule("CosineAnnealingLR", lr=LR / 2)
    assert [half(s)[0] for s in range(TOTAL)] == pytest.approx([full(s)[0] / 2 for s in range(TOTAL)])


class EveryOther(lr_scheduler.LRScheduler):
    """A schedule of a plugin, with state that torch does not know."""

    def __init__(self, optimizer: torch.optim.Optimizer, factor: float, last_epoch: int = -1):
        self.factor, self.history = factor, [0.0]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        self.history.append(self.history[-1] + 1)
        return [LR * (self.factor if len(self.history) % 2 else 1.0) / len(self.history)]


def test_plugin_schedule_replays_its_steps_on_resume() -> None:
    uninterrupted, first, resumed = (TorchSchedule(EveryOther, {"factor": 0.5}, LR, TOTAL, 0, LR) for _ in range(3))
    first(9)
    resumed.load_state_dict(first.state_dict())
    assert [resumed(step) for step in range(9, TOTAL)] == [uninterrupted(step) for step in range(TOTAL)][9:]
