"""Weight initialization of every kind of layer and model."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from tests.helpers.lab import configure
from tests.helpers.pairs import MODELS, first_dataset, make_pair
from trainer.core import rng
from trainer.engine import factory
from trainer.models.layers.attention.efficient_attention import LinformerAttention
from trainer.models.layers.graph.graph_attention import GATConv, GATv2Conv
from trainer.models.layers.graph.graph_conv import EdgeMessageConv, GCNConv, GINConv, SAGEConv
from trainer.models.layers.graph.graph_readout import GraphPool
from trainer.models.layers.graph.relational_graph_conv import RGCNConv
from trainer.models.sequence.rnn import RNN
from trainer.models.vision.attention_convs import DynamicConv
from trainer.models.vision.cnn import CNN
from trainer.optim.weight_init import initialize_weights

EMBEDDINGS_ONLY = {"bipartite_gnn", "distmult", "matrix_factorization"}
"""Models without a weight matrix to initialize."""
SAVED = {"pretrained"}
"""Models whose weights are those of a saved model; they refuse a rule."""
NOT_WEIGHT_MATRICES = {
    *("Embedding.weight", "BipartiteGNN.embeddings", "MatrixFactorization.embeddings", "MatrixFactorization.biases"),
    *(
        "LearnedPositionalEncoding.embedding",
        "ViT.class_token",
        "StyleGenerator.constant",
        "RGCNConv.basis_coefficients",
    ),
}
"""Parameters of two dimensions or more that are tables, constants or coefficients."""
LAYERS: dict[str, tuple[Callable[[], nn.Module], dict[str, tuple[int, int]]]] = {
    "convolution": (lambda: GCNConv(300, 100), {"weight": (300, 100)}),
    "sage": (lambda: SAGEConv(300, 100), {"weight": (300, 100), "neighbor_weight": (300, 100)}),
    "gin": (lambda: GINConv(300, 100), {"weight": (300, 100), "out.weight": (100, 100)}),
    "edges": (lambda: EdgeMessageConv(300, 100, 20), {"weight": (300, 100), "message.weight": (620, 100)}),
    "v1": (
        lambda: GATConv(300, 25, 4, True, 0.0, 0.2),
        {"weight": (300, 100), "att_src": (25, 4), "att_dst": (25, 4)},
    ),
    "v2": (
        lambda: GATv2Conv(300, 25, 4, True, 0.0, 0.2),
        {"weight": (300, 100), "target_weight": (300, 100), "att": (25, 4)},
    ),
    "relations": (lambda: RGCNConv(300, 100, 3), {"weight": (300, 100), "relation_weight": (300, 100)}),
    "bases": (lambda: RGCNConv(300, 100, 9, 2), {"weight": (300, 100), "relation_weight": (300, 100)}),
    "pool": (lambda: GraphPool("attention", 1000), {"score": (1000, 1)}),
    "linformer": (lambda: LinformerAttention(200, 50), {"key_proj": (200, 50), "value_proj": (200, 50)}),
    "transposed": (lambda: nn.ConvTranspose2d(64, 16, 4), {"weight": (64 * 16, 16 * 16)}),
    "groups": (lambda: nn.Conv2d(64, 128, 3, groups=8), {"weight": (8 * 9, 16 * 9)}),
    "kernels": (lambda: DynamicConv(32, 16, 4, 1.0), {"conv.weight": (32 * 9, 16 * 9)}),
}
"""Layers with the fans, in and out, of each weight."""


def make_rnn(**changes: object) -> RNN:
    options = configure("model=lstm")["model"] | {"in_features": 60, "out_features": 3} | changes
    options.pop("_target_")
    return RNN(**options)


def make_convolutions() -> list[nn.Conv2d]:
    options = configure("model=cnn")["model"] | {"in_channels": 8, "height": 28, "width": 28, "out_features": 10}
    options.pop("_target_")
    model = CNN(**options)
    initialize_weights(model, "kaiming")
    return [layer for layer in model.trunk if isinstance(layer, nn.Conv2d)]


def test_kaiming_uses_fan_out_and_zero_biases() -> None:
    for layer in make_convolutions():
        expected = (2 / (layer.out_channels * 9)) ** 0.5
        assert float(layer.weight.detach().std()) == pytest.approx(expected, rel=0.1)
        assert layer.bias is not None
        assert not layer.bias.any()


def test_xavier_uses_fan_in_and_fan_out() -> None:
    model = nn.Linear(300, 100)
    initialize_weights(model, "xavier")
    assert float(model.weight.detach().std()) == pytest.approx((2 / 400) ** 0.5, rel=0.05)
    assert float(model.weight.detach().abs().max()) <= (6 / 400) ** 0.5


def test_orthogonal_gates_are_orthogonal_and_keep_their_biases() -> None:
    model = make_rnn(hidden_size=16, forget_bias=3.0)
    initialize_weights(model, "orthogonal")
    weights = dict(model.rnn.cells.named_parameters())
    for gate in weights["weight_hh_l0"].split(16):
        torch.testing.assert_close(gate @ gate.T, torch.eye(16), atol=1e-5, rtol=0)
    assert (weights["bias_ih_l0"].chunk(4)[1] == 3).all()
    assert not model.head.bias.any()


@pytest.mark.parametrize("name", LAYERS)
def test_fans_are_independent_of_the_weight_layout(name: str) -> None:
    make, weights = LAYERS[name]
    layer = make()
    for weight, (fan_in, fan_out) in weights.items():
        value = layer.get_parameter(weight).detach()
        torch.manual_seed(0)
        initialize_weights(layer, "kaiming")
        precision = 4 * (2 / value.numel()) ** 0.5  # four standard errors of the variance of so many numbers
        assert float(value.square().mean()) == pytest.approx(2 / fan_out, rel=precision)
        initialize_weights(layer, "xavier")
        assert float(value.square().mean()) == pytest.approx(2 / (fan_in + fan_out), rel=precision)
    biases = [value for name, value in layer.named_parameters() if name == "bias"]
    assert not any(value.any() for value in biases)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
def test_each_relation_has_its_own_orthogonal_matrix(shape: tuple[int, int]) -> None:
    layer = RGCNConv(*shape, relations=3)
    initialize_weights(layer, "orthogonal")
    rank = min(shape)
    for matrix in (layer.weight.detach(), *layer.relation_weight.detach().unbind()):
        product = matrix @ matrix.t() if shape[0] == rank else matrix.t() @ matrix
        torch.testing.assert_close(product, torch.eye(rank), atol=1e-5, rtol=0)
    assert not torch.equal(*layer.relation_weight.detach()[:2])


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(MODELS))
def test_every_weight_matrix_of_every_model_is_initialized(model: str) -> None:
    task = make_pair(model, first_dataset(model)).task
    before = {name: value.detach().clone() for name, value in task.model.named_parameters() if value.dim() > 1}
    initialize_weights(task.model, "kaiming")
    after = dict(task.model.named_parameters())
    unchanged = {name for name, value in before.items() if torch.equal(value, after[name].detach())}
    kinds = {f"{type(task.model.get_submodule(owner)).__name__}.{leaf}" for owner, _, leaf in
             (name.rpartition(".") for name in unchanged)}  # fmt: skip
    assert kinds <= NOT_WEIGHT_MATRICES


@pytest.mark.slow
@pytest.mark.parametrize("model", sorted(MODELS.keys() - EMBEDDINGS_ONLY - SAVED))
def test_init_rules_differ_and_default_keeps_the_weights(model: str) -> None:
    weights = {}
    for rule in ("default", "xavier", "orthogonal"):
        pair = make_pair(model, first_dataset(model), f"init={rule}")
        weights[rule] = torch.cat([value.detach().flatten() for value in pair.task.parameters()])
    plain = make_pair(model, first_dataset(model))
    rng.seed_everything(0)
    task = factory.make_task(plain.config.tree, plain.data, plain.config.names)
    assert torch.equal(weights["default"], torch.cat([value.detach().flatten() for value in task.parameters()]))
    assert not torch.equal(weights["default"], weights["xavier"])
    assert not torch.equal(weights["orthogonal"], weights["xavier"])
    assert all(values.isfinite().all() for values in weights.values())


def test_weight_with_spectral_norm_is_initialized() -> None:
    torch.manual_seed(0)
    layer = nn.utils.parametrizations.spectral_norm(nn.Linear(40, 40))
    initialize_weights(layer, "orthogonal")
    weight = layer.parametrizations.weight.original  # type: ignore[union-attr, index]
    torch.testing.assert_close(weight @ weight.T, torch.eye(40), atol=1e-5, rtol=0)
    assert not layer.bias.any()
