"""Schedule-free learning follows the equations of the paper, evaluates the average and resumes to the bit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.helpers.lab import lab
from tests.helpers.resumed_runs import ResumedRun, hash_state
from tests.helpers.tiny import Formula, Numbers, StopAt, rows, tiny
from trainer.engine.schedule_free import ScheduleFreeAverage
from trainer.engine.trainer import Trainer
from trainer.optim.flat_params import FlatParameters
from trainer.utils.errors import ConfigError

SCHEDULE = {"_target_": "trainer.optim.stable_schedules.ScheduleFree", "beta": 0.9, "warmup": 3}
SGD = {"_target_": "trainer.optim.optimizers.SGD", "lr": 0.3, "momentum": 0.9, "nesterov": False}
ADAMW = {"_target_": "trainer.optim.optimizers.AdamW", "lr": 0.1, "betas": [0.9, 0.99], "eps": 1e-8}
START = [1.0, -2.0, 0.5]
STEPS = 12


def compute_loss(model: Any) -> Tensor:
    w = model.get_parameter("w")
    return (w * torch.tensor([1.0, 2.0, 3.0])).square().sum() + w.sum()


def compute_gradient(y: Tensor) -> Tensor:
    return 2 * y * torch.tensor([1.0, 4.0, 9.0], dtype=torch.double) + 1


def follow_paper(kind: str, lr: float, warmup: int, decay: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return x and y after the steps, by the equations of the paper in double precision (Adam without first moment)."""
    z = x = torch.tensor(START, dtype=torch.double)
    total, square = 0.0, torch.zeros(3, dtype=torch.double)
    for step in range(STEPS):
        rate = lr * min(1.0, (step + 1) / (warmup + 1))
        y = 0.1 * z + 0.9 * x
        gradient = compute_gradient(y)
        if kind == "sgd":
            z = z - rate * (gradient + decay * y)
        else:
            square = 0.99 * square + 0.01 * gradient**2
            z = z - rate * gradient / ((square / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8) - rate * decay * y
        total += rate**2
        c = rate**2 / total
        x = (1 - c) * x + c * z
    return x, 0.1 * z + 0.9 * x


def make_trainer(optimizer: dict[str, Any], **changes: Any) -> Trainer:
    task = Formula(Numbers(w=START), compute_loss)
    return tiny(task, train=rows(4), optimizer=optimizer, scheduler=SCHEDULE, epochs=STEPS, **changes)


@pytest.mark.parametrize(("kind", "optimizer"), [("sgd", SGD | {"lr": 0.02}), ("adamw", ADAMW)])
def test_iterates_are_those_of_the_paper(kind: str, optimizer: dict[str, Any]) -> None:
    trainer = make_trainer(optimizer)
    trainer.fit()
    x, y = follow_paper(kind, optimizer["lr"], warmup=3)
    weights = trainer.task.model.get_parameter("w")
    assert torch.allclose(weights.double(), y, rtol=1e-4, atol=1e-5)
    with trainer.ema_weights():
        assert torch.allclose(weights.double(), x, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(x, y, rtol=1e-3)


def test_weight_decay_is_that_of_the_weights_with_the_gradient() -> None:
    group = make_trainer(ADAMW).param_groups["model"]
    assert isinstance(group.ema, ScheduleFreeAverage)
    params = FlatParameters([torch.nn.Parameter(torch.tensor(START))])
    average = ScheduleFreeAverage(params, 0.9)
    for _ in range(3):  # each update of the optimizer at y moves z by the same amount
        before, base = params.data.clone(), average.base.clone()
        params.data.sub_(0.1 * before)
        average.update(1, 0.1)
        assert torch.allclose(average.base, base - 0.1 * before, rtol=1e-5)


def test_a_skipped_update_changes_nothing() -> None:
    params = FlatParameters([torch.nn.Parameter(torch.tensor(START))])
    average = ScheduleFreeAverage(params, 0.9)
    for found_inf in (torch.ones(()), torch.zeros(()), torch.ones(())):
        before = [value.clone() for value in (params.data, average.base, average.average, average.weight_sum)]
        if not found_inf:
            params.data.sub_(0.1)
        average.update(1, 0.1, found_inf)
        after = [params.data, average.base, average.average, average.weight_sum]
        assert all(map(torch.equal, before, after)) == bool(found_inf)


def make_network(scheduler: str, manager: Any = None, callback: Any = None) -> Trainer:
    options = ("model=mlp", "model.hidden=[4]", "data=moons", "data.rows=60", "batch_size=8", "epochs=3")
    return lab(*options, f"scheduler={scheduler}", "optimizer=adamw", manager=manager, callback=callback).trainer


@pytest.mark.parametrize("scheduler", ["schedule_free", "wsd"])
@pytest.mark.parametrize("step", [2, 5, 7])
def test_resume_is_bit_exact(scheduler: str, step: int, tmp_path: Path) -> None:
    make = partial(make_network, scheduler)
    whole = make()
    whole.fit()
    chain = ResumedRun(make, tmp_path)
    chain.start(StopAt(step))
    assert hash_state(chain.resume()) == hash_state(whole)


def test_validation_and_best_weights_are_those_of_the_average() -> None:
    trainer = make_network("schedule_free")
    trainer.fit()
    last = trainer.history[-1]["val_nll"]
    with trainer.ema_weights():
        average = {name: value.clone() for name, value in trainer.task.state_dict().items()}
    group = trainer.param_groups["model"]
    group.drop_ema()
    assert trainer.evaluate_loader(trainer.val_loader)["nll"] != last
    trainer.task.load_state_dict(average)
    assert trainer.evaluate_loader(trainer.val_loader)["nll"] == last


def test_two_averages_and_optimizers_without_momentum_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"ema: 0\.9 given; scheduler=schedule_free averages the weights itself"):
        make_trainer(SGD, ema=0.9)
    with pytest.raises(ConfigError, match="schedule_free: the optimizer has no momentum to replace"):
        lab("model=mlp", "data=moons", "optimizer=adagrad", "scheduler=schedule_free")
