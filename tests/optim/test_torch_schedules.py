"""Torch's schedulers give torch's rates step by step, and go on where they were."""

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


def build(name: str, lr: float = LR, total: int = TOTAL, warmup: int = 0, **options: Any) -> TorchSchedule:
    chosen = CASES.get(name, PLATEAU) | options
    return TorchSchedule(getattr(lr_scheduler, name), chosen, lr, total, warmup, configured_lr=LR)


def reference(name: str) -> list[tuple[float, float]]:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=LR, momentum=0.9)
    scheduler = getattr(lr_scheduler, name)(optimizer, **CASES[name])
    found = []
    for step in range(TOTAL):
        found.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
        optimizer.step()
        if step < TOTAL - 1:
            scheduler.step()
    return found


def test_every_scheduler_of_torch_is_tested() -> None:
    usable = set(torch_classes.list_classes("scheduler")) - torch_classes.UNSUPPORTED.keys()
    assert usable == {*CASES, "ReduceLROnPlateau"}


@pytest.mark.parametrize("name", CASES)
def test_learning_rates_match_torch(name: str) -> None:
    schedule = build(name)
    found = [schedule(step) for step in range(TOTAL)]
    wanted = reference(name)
    assert [rate for rate, _ in found] == [rate for rate, _ in wanted]
    assert len({rate for rate, _ in found}) > 1
    if name in ("CyclicLR", "OneCycleLR"):
        assert [momentum for _, momentum in found] == [momentum for _, momentum in wanted]
    else:
        assert {momentum for _, momentum in found} == {None}


@pytest.mark.parametrize("stop", [0, 1, 7, 12])
@pytest.mark.parametrize("name", CASES)
def test_it_resumes_at_its_position(name: str, stop: int) -> None:
    whole, first, again = build(name), build(name), build(name)
    for step in range(stop + 1):
        first(step)
    again.load_state_dict(first.state_dict())
    assert [again(step) for step in range(stop, TOTAL)] == [whole(step) for step in range(TOTAL)][stop:]


@pytest.mark.parametrize("name", CASES)
def test_an_earlier_step_has_its_own_rate(name: str) -> None:
    schedule = build(name)
    forward = [schedule(step) for step in range(TOTAL)]
    assert [schedule(step) for step in reversed(range(TOTAL))] == forward[::-1]


def test_a_plateau_has_no_earlier_steps() -> None:
    schedule = build("ReduceLROnPlateau", warmup=2)
    for step in range(6):
        schedule(step)
    with pytest.raises(ValueError, match="step: 2 given after 3; a schedule that follows the score"):
        schedule(4)
    schedule.load_state_dict(schedule.state_dict())
    assert schedule(4)[0] == LR


@pytest.mark.parametrize("name", CASES)
def test_its_state_is_of_numbers_of_one_type(name: str) -> None:
    schedule = build(name)
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
    torchs = lr_scheduler.ReduceLROnPlateau(optimizer, mode=direction, **PLATEAU)  # type: ignore[arg-type]
    schedule = build("ReduceLROnPlateau")
    rates = []
    for place, score in enumerate(SCORES):
        if place == stop:
            state = schedule.state_dict()
            schedule = build("ReduceLROnPlateau")
            schedule.load_state_dict(state)
        torchs.step(score)
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
def test_null_is_the_length_of_the_run(name: str, options: dict[str, Any], end: float, warmup: int) -> None:
    schedule = build(name, warmup=warmup, **options)
    rates = [schedule(step)[0] for step in range(TOTAL)]
    assert rates[-1] == pytest.approx(end, abs=1e-9)
    assert all(rate > end + 1e-9 for rate in rates[warmup:-1])
    if warmup:
        assert rates[: warmup + 1] == pytest.approx([rates[warmup] * (step + 1) / 6 for step in range(6)])


def test_a_param_group_with_another_lr_scales_the_same_schedule() -> None:
    usual, half = build("CosineAnnealingLR"), build("CosineAnnealingLR", lr=LR / 2)
    assert [half(s)[0] for s in range(TOTAL)] == pytest.approx([usual(s)[0] / 2 for s in range(TOTAL)])


class EveryOther(lr_scheduler.LRScheduler):
    """A schedule of a plugin, whose state torch knows nothing of."""

    def __init__(self, optimizer: torch.optim.Optimizer, factor: float, last_epoch: int = -1):
        self.factor, self.seen = factor, [0.0]
        super().__init__(optimizer, last_epoch)

    def get_lr(self) -> list[float]:  # type: ignore[override]
        self.seen.append(self.seen[-1] + 1)
        return [LR * (self.factor if len(self.seen) % 2 else 1.0) / len(self.seen)]


def test_a_schedule_of_a_plugin_repeats_its_steps() -> None:
    whole, first, again = (TorchSchedule(EveryOther, {"factor": 0.5}, LR, TOTAL, 0, LR) for _ in range(3))
    first(9)
    again.load_state_dict(first.state_dict())
    assert [again(step) for step in range(9, TOTAL)] == [whole(step) for step in range(TOTAL)][9:]
