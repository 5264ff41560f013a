"""What the parameters of a model are, and what weight decay makes of them."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.lab import lab
from tests.helpers.pairs import MODELS, first_dataset, make_pair
from trainer.core.weight_matrices import find_decayed_parameters, weight_matrices
from trainer.models.graph.recommendation import MatrixFactorization
from trainer.models.layers.graph.graph_readout import GraphPool


def names(model: nn.Module) -> set[str]:
    """Of the parameters that decay."""
    found = find_decayed_parameters(model)
    return {name for name, value in model.named_parameters() if value in found}


def test_biases_and_gains_do_not_decay_whatever_their_dimensions() -> None:
    assert names(MatrixFactorization(6, 3)) == {"embeddings"}
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.LayerNorm([4, 5, 5]), nn.BatchNorm2d(4), nn.Embedding(3, 2))
    assert names(model) == {"0.weight", "3.weight"}
    assert names(nn.LSTM(3, 4)) == {"weight_ih_l0", "weight_hh_l0"}


def test_a_vector_used_as_a_weight_matrix_decays_and_another_does_not() -> None:
    assert names(GraphPool("attention", 5)) == {"score"}
    assert names(nn.PReLU(3)) == set()


def test_a_two_dimensional_gain_is_not_a_weight_matrix() -> None:
    assert weight_matrices(nn.LayerNorm([4, 5])) == {}


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_biases_of_users_and_items_decay_only_if_asked(optimizer: str, everything: bool) -> None:
    """A rate at which a gradient moves nothing to speak of, and a pull that halves what it is for."""
    made = lab(
        *(
            "model=matrix_factorization",
            "data=clicks",
            f"optimizer={optimizer}",
            "optimizer.lr=1e-6",
            "optimizer.weight_decay=5e5",
        ),
        *(f"optimizer.decay_norm_and_bias={str(everything).lower()}", "max_steps=1"),
    )
    with torch.no_grad():
        for value in made.task.parameters():
            value.fill_(1.0)
    made.trainer.train_epoch()
    left = {name: float(value.detach().mean()) for name, value in made.task.model.named_parameters()}
    shrunk = pytest.approx(0.5, abs=0.01)
    kept = pytest.approx(1.0, abs=0.01)
    assert left == {
        "embeddings": shrunk,
        "biases": shrunk if everything else kept,
        "decoder.bias": left["decoder.bias"],
    }
    assert left["decoder.bias"] == (shrunk if everything else kept)


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(MODELS))
def test_biases_never_decay_and_weight_matrices_always_do(model: str) -> None:
    task = make_pair(model, first_dataset(model)).task
    shrink = find_decayed_parameters(task)
    for name, value in task.named_parameters():
        assert ("bias" in name.rpartition(".")[2]) <= (value not in shrink), name
    maps = {value for part in task.modules() for name, value in part.named_parameters(recurse=False)
            if name in weight_matrices(part)}  # fmt: skip
    assert maps <= shrink
