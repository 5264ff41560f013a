"""Weight matrices of a model, and parameters with weight decay."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.helpers.lab import lab
from tests.helpers.pairs import MODELS, first_dataset, make_pair
from trainer.core.weight_matrices import find_decayed_parameters, weight_matrices
from trainer.models.graph.recommendation import MatrixFactorization
from trainer.models.layers.graph.graph_readout import GraphPool


def find_decayed_names(model: nn.Module) -> set[str]:
    """Return the names of the parameters with weight decay."""
    decayed = find_decayed_parameters(model)
    return {name for name, value in model.named_parameters() if value in decayed}


def test_biases_and_norm_gains_do_not_decay() -> None:
    assert find_decayed_names(MatrixFactorization(6, 3)) == {"embeddings"}
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.LayerNorm([4, 5, 5]), nn.BatchNorm2d(4), nn.Embedding(3, 2))
    assert find_decayed_names(model) == {"0.weight", "3.weight"}
    assert find_decayed_names(nn.LSTM(3, 4)) == {"weight_ih_l0", "weight_hh_l0"}


def test_a_vector_used_as_a_weight_matrix_decays_and_another_does_not() -> None:
    assert find_decayed_names(GraphPool("attention", 5)) == {"score"}
    assert find_decayed_names(nn.PReLU(3)) == set()


def test_a_two_dimensional_gain_is_not_a_weight_matrix() -> None:
    assert weight_matrices(nn.LayerNorm([4, 5])) == {}


@pytest.mark.parametrize("everything", [True, False])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_user_and_item_biases_decay_only_on_request(optimizer: str, everything: bool) -> None:
    """At this learning rate gradients have no visible effect; weight decay halves a parameter."""
    setup = lab(
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
        for value in setup.task.parameters():
            value.fill_(1.0)
    setup.trainer.train_epoch()
    means = {name: float(value.detach().mean()) for name, value in setup.task.model.named_parameters()}
    half = pytest.approx(0.5, abs=0.01)
    unchanged = pytest.approx(1.0, abs=0.01)
    assert means == {
        "embeddings": half,
        "biases": half if everything else unchanged,
        "decoder.bias": means["decoder.bias"],
    }
    assert means["decoder.bias"] == (half if everything else unchanged)


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(MODELS))
def test_biases_never_decay_and_weight_matrices_always_do(model: str) -> None:
    task = make_pair(model, first_dataset(model)).task
    decayed = find_decayed_parameters(task)
    for name, value in task.named_parameters():
        assert ("bias" in name.rpartition(".")[2]) <= (value not in decayed), name
    matrices = {value for part in task.modules() for name, value in part.named_parameters(recurse=False)
            if name in weight_matrices(part)}  # fmt: skip
    assert matrices <= decayed
