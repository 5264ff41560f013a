"""``get_choice`` and its message in models, tasks and weight initialization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from trainer.models.layers.sequence.recurrent import RecurrentStack
from trainer.models.sequence.rnn import RNN
from trainer.models.tabular.mlp import MLP
from trainer.models.vision.lenet_alexnet_vgg import VGG
from trainer.optim.weight_init import initialize_weights
from trainer.tasks.regression import Regression
from trainer.utils.choices import get_choice


def test_get_choice_returns_the_value_or_raises() -> None:
    assert get_choice("depth", 2, {1: "a", 2: "b"}) == "b"
    with pytest.raises(ValueError, match=r"^depth: \[3\] given; it must be one of 1, 2$"):
        get_choice("depth", [3], {1: "a", 2: "b"})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda value: RNN(20, 1, cell=value), "cell: 'foo' given; it must be one of rnn, lstm, gru"),
        (lambda value: RecurrentStack(value, 20, 1), "cell: 'foo' given; it must be one of rnn, lstm, gru"),
        (lambda value: MLP(20, 1, activation=value), "activation: 'foo' given; it must be one of relu, "),
        (lambda value: VGG(3, 32, 32, 2, depth=value), "depth: 'foo' given; it must be one of 11, 13, 16, 19"),
        (lambda value: Regression(torch.nn.Linear(1, 1), loss=value), "loss: 'foo' given; it must be one of mse, "),
        (lambda value: initialize_weights(torch.nn.Linear(1, 1), value), "rule: 'foo' given; it must be one of "),
    ],
)
def test_models_tasks_and_initialization_name_the_argument(make: Callable[[Any], object], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        make("foo")
