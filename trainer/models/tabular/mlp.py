"""Multi-layer perceptrons and linear models."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from trainer.core.types import PositiveInt, Probability
from trainer.utils.choices import get_choice

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "elu": nn.ELU,
    "leaky_relu": nn.LeakyReLU,
    "silu": nn.SiLU,
}


class MLP(nn.Module):
    """Multi-layer perceptron: hidden layers ``h = dropout(act(W h + b))`` and a linear head.

    Inputs of any shape are flattened. Without hidden layers it is a linear model.

    Args:
        flat_features: number of input features after flattening.
        out_features: number of outputs C.
        hidden: hidden layer sizes.
        activation: relu, gelu, tanh, elu, leaky_relu or silu.
        dropout: dropout probability after each hidden layer.

    References:
        Rosenblatt 1958, The Perceptron.
        Rumelhart et al. 1986, Learning Representations by Back-propagating Errors.
    """

    shapes = "x (B, ...) -> (B, C)"

    def __init__(
        self,
        flat_features: PositiveInt,
        out_features: PositiveInt,
        hidden: Sequence[PositiveInt] = (64, 32),
        activation: Literal["relu", "gelu", "tanh", "elu", "leaky_relu", "silu"] = "relu",
        dropout: Probability = 0.0,
    ):
        super().__init__()
        make_activation = get_choice("activation", activation, ACTIVATIONS)
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise((flat_features, *hidden)):
            layers += [nn.Linear(width_in, width_out), make_activation(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*(layer for layer in layers if not isinstance(layer, nn.Dropout) or dropout))
        self.head = nn.Linear((flat_features, *hidden)[-1], out_features)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layers(x.flatten(1)))
