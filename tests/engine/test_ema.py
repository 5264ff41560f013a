"""Exponential moving average: closed form with decay warm-up, swap of weights, state by name."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.device_runs import build_trainer
from tests.helpers.simulated_cuda import CUDA, simulate_cuda
from tests.helpers.tiny import CPU
from trainer.engine.ema import EMA
from trainer.optim.flat_params import FlatParameters


def make_params() -> tuple[nn.Linear, FlatParameters]:
    torch.manual_seed(0)
    layer = nn.Linear(3, 2)
    return layer, FlatParameters(layer.parameters(), names={p: name for name, p in layer.named_parameters()})


def test_average_matches_the_recurrence_with_decay_warmup() -> None:
    layer, params = make_params()
    ema = EMA(params, decay=0.5)
    expected = layer.weight.detach().clone()
    for step in range(1, 20):
        with torch.no_grad():
            layer.weight.add_(torch.randn(2, 3))
        ema.update(step, 0.1)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * layer.weight.detach()
    assert torch.allclose(ema.state_dict()["weight"], expected, atol=1e-6)


def test_a_skipped_update_leaves_the_average_as_it_is() -> None:
    _, params = make_params()
    averages = []
    for found_inf in (torch.ones(()), torch.zeros(()), None):
        ema = EMA(params, decay=0.5)
        before = ema.average.clone()
        ema.average.mul_(2)
        ema.update(40, 0.1, found_inf)
        averages.append(ema.average / before)
    skipped, updated, expected = averages
    assert bool((skipped == 2)[params.data != 0].all())
    assert torch.equal(updated.nan_to_num(), expected.nan_to_num())
    assert not torch.equal(updated.nan_to_num(), skipped.nan_to_num())


def test_swap_twice_restores_parameters_and_average() -> None:
    layer, params = make_params()
    ema = EMA(params, decay=0.9)
    with torch.no_grad():
        layer.weight.zero_()
    average = ema.average.clone()
    ema.swap()
    assert torch.equal(layer.weight, ema.params.split_by_name(average)["weight"])
    assert not ema.state_dict()["weight"].any()
    ema.swap()
    assert not layer.weight.any()
    assert torch.equal(ema.average, average)


def test_state_is_copied_by_parameter_name() -> None:
    _, params = make_params()
    ema, other = EMA(params, decay=0.9), EMA(make_params()[1], decay=0.9)
    ema.average.fill_(2.0)
    assert ema.state_dict().keys() == {"weight", "bias"}
    other.load_state_dict(ema.state_dict())
    assert torch.equal(other.average[other.average != 0], torch.full((8,), 2.0))


@pytest.mark.parametrize("device", [CPU, CUDA], ids=str)
@pytest.mark.parametrize("optimizer", ["adamw", "rmsprop", "nadam"])
def test_an_update_that_the_gradient_scaler_skips_changes_nothing(optimizer: str, device: torch.device) -> None:
    """The average differs from the parameters, so that it would move."""
    options = ("model=mlp", "data=synthetic_tabular", "data.rows=200", "model.hidden=[4]", f"optimizer={optimizer}")
    with simulate_cuda() as simulated:
        trainer = build_trainer((*options, "batch_size=16", "precision=fp16", "ema=0.5"), device)
        ((group,), batches) = trainer.param_groups.values(), trainer.train_loader.iter_epoch(0)
        trainer.update_param_group(group, [next(batches)])
        assert group.ema is not None
        group.ema.average.mul_(2)

        def copy_state() -> list[Tensor]:
            assert group.ema is not None
            return [value.clone() for value in (group.ema.average, group.params.data, group.optimizer.steps)]

        def update(batch: Any) -> list[bool]:
            before = copy_state()
            simulated.waits.clear()
            trainer.update_param_group(group, [batch])
            assert device == CPU or not simulated.waits
            return [torch.equal(a, b) for a, b in zip(before, copy_state(), strict=True)]

        scale = trainer.scaler.get_scale()
        trainer.scaler.update(2.0**60)
        assert update(next(batches)) == [True, True, True]
        trainer.scaler.update(scale)
        assert update(next(batches)) == [False, False, False]
