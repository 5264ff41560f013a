"""One rule for the initial weights of every kind of model."""

from __future__ import annotations

import pytest
import torch
from conftest import configure
from pairs import MODELS, first_data, pair
from torch import nn

from trainer import builder, seeding
from trainer.initial import initialise
from trainer.models.cnn import CNN
from trainer.models.rnn import RNN

EMBEDDINGS_ALONE = {"bipartite_gnn", "distmult", "matrix_factorisation"}
"""Models without a matrix to draw anew."""


def rnn(**changes: object) -> RNN:
    options = configure("model=lstm")["model"] | {"in_features": 60, "out_features": 3} | changes
    options.pop("_target_")
    return RNN(**options)


def convolutions() -> list[nn.Conv2d]:
    options = configure("model=cnn")["model"] | {"in_channels": 8, "height": 28, "width": 28, "out_features": 10}
    options.pop("_target_")
    model = CNN(**options)
    initialise(model, "kaiming")
    return [layer for layer in model.trunk if isinstance(layer, nn.Conv2d)]


def test_kaiming_is_of_the_fan_out_with_zero_biases() -> None:
    for layer in convolutions():
        wanted = (2 / (layer.out_channels * 9)) ** 0.5
        assert float(layer.weight.detach().std()) == pytest.approx(wanted, rel=0.1)
        assert layer.bias is not None
        assert not layer.bias.any()


def test_xavier_is_of_both_fans() -> None:
    model = nn.Linear(300, 100)
    initialise(model, "xavier")
    assert float(model.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.05)
    assert float(model.weight.detach().abs().max()) <= (6 / 400) ** 0.5


def test_orthogonal_gates_are_rotations_and_keep_their_biases() -> None:
    model = rnn(hidden_size=16, forget_bias=3.0)
    initialise(model, "orthogonal")
    weights = dict(model.rnn.cells.named_parameters())
    for gate in weights["weight_hh_l0"].split(16):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)
    assert (weights["bias_ih_l0"].chunk(4)[1] == 3).all()
    assert not model.head.bias.any()


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(MODELS.keys() - EMBEDDINGS_ALONE))
def test_every_model_listens_and_default_draws_nothing(model: str) -> None:
    found = {}
    for rule in ("default", "xavier", "orthogonal"):
        made = pair(model, first_data(model), f"init={rule}")
        found[rule] = torch.cat([value.detach().flatten() for value in made.task.parameters()])
    plain = pair(model, first_data(model))
    seeding.seed_everything(0)
    again = builder.task(plain.config.tree, plain.data, plain.config.names)
    assert torch.equal(found["default"], torch.cat([value.detach().flatten() for value in again.parameters()]))
    assert not torch.equal(found["default"], found["xavier"])
    assert not torch.equal(found["orthogonal"], found["xavier"])
    assert all(values.isfinite().all() for values in found.values())


def test_a_weight_behind_a_spectral_norm_is_drawn_too() -> None:
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(40, 40))
    initialise(layer, "orthogonal")
    drawn = layer.parametrizations.weight.original  # type: ignore[union-attr, index]
    torch.testing.assert_close(drawn @ drawn.T, torch.eye(40), atol=1e-5, rtol=0)
    assert not layer.bias.any()
