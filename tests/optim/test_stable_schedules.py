"""Schedules with a stable phase against torch's ConstantLR, LinearLR and CosineAnnealingLR in sequence."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LinearLR, LRScheduler, SequentialLR

from trainer.config import compose
from trainer.optim.stable_schedules import WSD, ScheduleFree
from trainer.utils.errors import ConfigError

Decay = Callable[[torch.optim.Optimizer, int], LRScheduler]
TORCH_DECAYS: dict[str, Decay] = {
    "linear": lambda optimizer, steps: LinearLR(optimizer, 1.0, 0.0, steps),
    "cosine": CosineAnnealingLR,
}


def compute_torch_rates(warmup: int, stable: int, decay: int, shape: str) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.4)
    parts: list[LRScheduler] = [
        LinearLR(optimizer, 1 / (warmup + 1), 1.0, warmup),
        ConstantLR(optimizer, 1.0, 1),
        TORCH_DECAYS[shape](optimizer, decay),
    ]
    schedule = SequentialLR(optimizer, parts, [warmup, warmup + stable])
    rates = []
    for _ in range(warmup + stable + decay):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("shape", TORCH_DECAYS)
@pytest.mark.parametrize(("warmup", "total"), [(5, 105), (1, 21)])
@pytest.mark.filterwarnings("ignore:The epoch parameter")
def test_wsd_is_a_sequence_of_torch_schedules(warmup: int, total: int, shape: str) -> None:
    schedule = WSD(0.4, total, decay=0.3, shape=shape, warmup=warmup)  # type: ignore[arg-type]
    decay = round(0.3 * (total - warmup))
    expected = compute_torch_rates(warmup, total - warmup - decay, decay, shape)
    assert [schedule(step)[0] for step in range(total)] == pytest.approx(expected)
    assert all(schedule(step)[1] is None for step in range(total))


def test_the_decay_of_a_square_root_leads_to_the_smallest_rate() -> None:
    schedule = WSD(1.0, 10, decay=0.5, shape="sqrt", min_lr=0.2)
    expected = [1.0] * 5 + [0.2 + 0.8 * (1 - math.sqrt(k / 5)) for k in range(5)]
    assert [schedule(step)[0] for step in range(10)] == pytest.approx(expected)
    assert schedule(10)[0] == pytest.approx(0.2)


def test_a_run_of_one_step_has_a_rate() -> None:
    assert WSD(0.1, 1)(0)[0] == 0.1
    with pytest.raises(ValueError, match="shape: 'convex' given; it must be one of linear, cosine, sqrt"):
        WSD(0.1, 1, shape="convex")  # type: ignore[arg-type]


def test_schedule_free_is_constant_after_the_warmup_and_has_no_momentum() -> None:
    schedule = ScheduleFree(0.8, 10, warmup=3)
    assert [schedule(step) for step in range(10)] == [(pytest.approx(0.2 * (k + 1)), 0.0) for k in range(3)] + [
        (0.8, 0.0)
    ] * 7
    assert not ScheduleFree.depends_on_length
    assert WSD.depends_on_length
    with pytest.raises(ConfigError, match=r"scheduler\.warmup"):
        ScheduleFree(0.8, 3, warmup=3)


@pytest.mark.parametrize("option", ["decay=0", "decay=1.0", "shape=convex", "min_lr=-0.1", "warmup=-1"])
def test_options_of_wsd_out_of_range_are_refused(option: str) -> None:
    with pytest.raises(ConfigError, match=rf"scheduler\.{option.split('=')[0]}: "):
        compose.compose(["model=mlp", "data=moons", "scheduler=wsd", f"scheduler.{option}"])


@pytest.mark.parametrize("change", [{"decay": 0.5}, {"shape": "cosine"}, {"min_lr": 0.1}, {"warmup": 4}])
def test_every_option_of_wsd_has_an_effect(change: dict[str, Any]) -> None:
    plain, changed = WSD(0.4, 20), WSD(0.4, 20, **change)
    assert [plain(step) for step in range(20)] != [changed(step) for step in range(20)]
