"""One batch that is memorized, and what is said where a model cannot."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.overfit_cases import learn_batch
from tests.helpers.tiny import MOMENTUM, LeastSquares, Linear, rows, tiny
from trainer.config import compose
from trainer.core.batch import Batch
from trainer.engine import overfit
from trainer.engine.overfit import OverfitResult
from trainer.runs.overfit_run import describe_result, draw_curve, make_overfit_config

QUICK = ("mlp", "gru", "distmult", "diffusion", "gan")
"""Models of five tasks; ``tests/gates/overfit.py`` goes over all."""


class Detached(Linear):
    """A model whose hidden layer gets no gradient."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(self.hidden(x).detach() * 0)


class Unbounded(LeastSquares):
    loss_floor = None

    def loss(self, batch: Batch, group: str) -> Tensor:
        return super().loss(batch, group) - 100.0


def learn(task: LeastSquares, steps: int = 300) -> OverfitResult:
    (result,) = overfit.overfit_groups(tiny(task, train=rows(3), batch_size=3, optimizer=MOMENTUM), steps)
    return result


def test_a_model_that_fits_its_rows_passes() -> None:
    result = learn(LeastSquares(Linear()))
    assert result.is_learned
    assert result.losses[-1] <= 0.05 * result.losses[0]
    assert result.without_gradient == []


def test_parameters_without_gradient_are_named() -> None:
    result = learn(LeastSquares(Detached()), 50)
    assert not result.is_learned
    assert {"model.hidden.weight", "model.hidden.bias"} <= set(result.without_gradient)
    text = "\n".join(describe_result(result, is_only=True))
    assert "FAIL" in text
    assert "no gradient reaches" in text


def test_a_loss_without_a_known_floor_must_fall() -> None:
    result = learn(Unbounded(Linear()), 5)
    assert (result.is_learned, result.has_floor) == (False, False)
    assert result.target == pytest.approx(result.losses[0] - 0.1 * abs(result.losses[0]))
    assert "10 % below its first value" in describe_result(result, is_only=True)[1]


def test_a_rate_that_is_too_small_is_stuck() -> None:
    result = OverfitResult("model")
    for loss in [2.0, 1.0, *[0.999] * 30]:
        result.add_loss(loss, 0.0)
    assert "stuck at 1 since step 1: try another optimizer.lr" in describe_result(result, is_only=True)[2]


def test_a_loss_that_is_not_finite_fails() -> None:
    result = OverfitResult("model")
    for loss in (2.0, math.nan):
        result.add_loss(loss, 0.0)
    assert not result.is_learned
    assert "not finite after 1 step" in describe_result(result, is_only=True)[2]


def test_dropout_is_switched_off() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout1d(0.5)).train()
    overfit.disable_dropout(model)
    assert torch.equal(model(torch.ones(4, 5)), torch.ones(4, 5))


def test_weight_decay_is_switched_off() -> None:
    words = ["model=mlp", "data=moons", "optimizer=adamw", "optimizer.weight_decay=0.3"]
    groups = 'optimizer.groups=[{match: "*bias", weight_decay: 0.1, lr_scale: 0.5}]'
    config = make_overfit_config(compose.compose([*words, groups]), 10)
    assert config.tree["optimizer"]["weight_decay"] == 0.0
    assert config.tree["optimizer"]["groups"] == [{"match": "*bias", "lr_scale": 0.5}]


def test_curves_are_bars_from_high_to_low() -> None:
    assert draw_curve([7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 1.0, 0.0]) == "█▇▆▅▄▃▂▁"
    assert len(draw_curve([1.0] * 1001)) <= 24
    assert draw_curve([math.nan]) == ""


@pytest.mark.slow
@pytest.mark.parametrize("model", QUICK)
def test_models_of_the_zoo_learn_a_batch(model: str) -> None:
    assert [result.group for result in learn_batch(model) if not result.is_learned] == []
