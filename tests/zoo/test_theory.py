"""Claims about gradients and symmetries, each with a common wrong version."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.helpers.matrices import largest_singular_value, sample_normal
from trainer.models.layers.graph.graph import Graph
from trainer.models.layers.graph.graph_conv import GCNConv
from trainer.models.layers.mlp import make_mlp
from trainer.models.sequence.rnn import RNN
from trainer.models.vision.cnn import CNN

# Gradients through depth and time.


def scalar_net(weights: list[float]) -> nn.Sequential:
    """``relu(w_n ... relu(w_1 x))``, one unit a layer."""
    net = nn.Sequential(make_mlp([1] * (len(weights) + 1), nn.ReLU), nn.ReLU()).double()
    with torch.no_grad():
        for layer, weight in zip((m for m in net.modules() if isinstance(m, nn.Linear)), weights, strict=True):
            layer.weight.fill_(weight)
            layer.bias.zero_()
    return net


def derivative(net: nn.Module, x: float) -> float:
    point = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(net(point).sum(), point)
    return float(grad)


def test_scalar_relu_net_gradient_is_zero_or_weight_product() -> None:
    signs = set()
    for seed in range(200):
        first, *rest = sample_normal(4, seed=seed).tolist()
        weights = [first, *(abs(w) for w in rest)] if seed % 2 else [first, *rest]
        for x in (-1.0, 1.0):
            gradient, product = derivative(scalar_net(weights), x), math.prod(map(abs, weights))
            assert gradient == 0 or abs(gradient) == pytest.approx(product)
            signs.add((gradient > 0) - (gradient < 0))
    assert signs == {-1, 0, 1}, "a negative input with a negative first weight flips the sign: |W|, not W"


def test_gradients_explode_vanish_or_are_zero() -> None:
    assert derivative(scalar_net([1.5] * 50), 1.0) == pytest.approx(1.5**50)
    assert derivative(scalar_net([0.5] * 50), 1.0) == pytest.approx(0.5**50)
    assert 1.5**50 > 1e8
    assert 0.5**50 < 1e-15
    one_off = [1.5] * 25 + [-1.5] + [1.5] * 24
    assert derivative(scalar_net(one_off), 1.0) == 0, "the product alone is the gradient of a linear net"


def test_scalar_net_gradient_is_not_power_of_shared_weight() -> None:
    """In an RNN, one weight is shared by n steps and the gradient is a power, not a product of weights."""
    weights = [0.5, 2.0, 3.0]
    assert derivative(scalar_net(weights), 1.0) == pytest.approx(3.0)
    assert all(w ** len(weights) != pytest.approx(3.0) for w in weights)


def jacobian(weight: Tensor, bias: Tensor, x: Tensor, steps: int) -> Tensor:
    """``d x_n / d x_1`` of ``x_{t+1} = sigmoid(W x_t + b)`` after n - 1 steps."""

    def unrolled(state: Tensor) -> Tensor:
        for _ in range(steps):
            state = (weight @ state + bias).sigmoid()
        return state

    matrix = torch.autograd.functional.jacobian(unrolled, x)
    assert isinstance(matrix, Tensor)
    return matrix


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_sigmoid_rnn_jacobian_norm_is_bounded_by_sixteenth_per_step(steps: int) -> None:
    weight = sample_normal(6, 6)
    weight = weight / largest_singular_value(weight) / 4
    found = largest_singular_value(jacobian(weight, sample_normal(6, seed=1), sample_normal(6, seed=2), steps))
    assert 0 <= found <= (1 / 16) ** steps
    # Tight: a state that makes every sigmoid as steep as it can be, under a multiple of the identity.
    eye = torch.eye(3, dtype=torch.float64) / 4
    flat = torch.full((3,), 0.5, dtype=torch.float64)
    assert largest_singular_value(jacobian(eye, -eye @ flat, flat, steps)) == pytest.approx((1 / 16) ** steps)


def test_singular_values_are_submultiplicative_and_jacobian_can_vanish() -> None:
    """Wrong version: a strict ``0 <`` and ``sigma(AB) = sigma(A) sigma(B)``."""
    singular = torch.zeros(3, 3, dtype=torch.float64)
    singular[0, 1] = 0.25
    assert largest_singular_value(singular) == 0.25
    assert largest_singular_value(jacobian(singular, torch.zeros(3).double(), torch.zeros(3).double(), 2)) == 0
    pairs = [(sample_normal(4, 4, seed=2 * i), sample_normal(4, 4, seed=2 * i + 1)) for i in range(50)]
    assert all(
        largest_singular_value(a @ b) <= largest_singular_value(a) * largest_singular_value(b) + 1e-12 for a, b in pairs
    )
    assert all(
        largest_singular_value(a @ b) < 0.999 * largest_singular_value(a) * largest_singular_value(b) for a, b in pairs
    ), "equal in none of fifty"


def first_input_gradient(forget_bias: float) -> float:
    """Return the gradient norm of the state after 50 steps with respect to the first input."""
    torch.manual_seed(0)
    lstm = RNN(4, 1, "lstm", 32, 1, False, 0.0, "last", "default", forget_bias)
    lstm.head = nn.Identity()  # type: ignore[assignment]  # the output is the last state
    x = torch.randn(8, 50, 4).requires_grad_()
    (gradient,) = torch.autograd.grad(lstm(x).sum(), x)
    return float(gradient[:, 0].norm())


def test_lstm_keeps_gradient_only_with_open_forget_gate() -> None:
    """Wrong version: an LSTM has no vanishing gradient. With a forget bias of 0, each step keeps half."""
    open_gate, default_gate = first_input_gradient(3.0), first_input_gradient(0.0)
    assert open_gate > 1e-2
    assert default_gate < 1e-9


# Symmetries.


def make_cnn(adaptive: Literal["none", "max"] = "none") -> CNN:
    torch.manual_seed(0)
    net = CNN(
        in_channels=1,
        height=16,
        width=16,
        out_features=3,
        channels=[4, 4],
        kernel=3,
        stride=1,
        padding="same",
        dilations=[1],
        pools=["none"],
        adaptive=adaptive,
        adaptive_size=1,
        norm="batch",  # which takes the place of biases: zeros stay zeros
        hidden=[],
        dropout=0.0,
    )
    return net.double().eval()


def test_cnn_is_shift_equivariant_not_invariant() -> None:
    image = F.pad(sample_normal(1, 1, 6, 6), (5, 5, 5, 5))  # zeros all around: nothing reaches the border
    shifted = image.roll((2, 1), (2, 3))
    net = make_cnn()
    torch.testing.assert_close(net.trunk(shifted), net.trunk(image).roll((2, 1), (2, 3)))
    assert not torch.allclose(net.trunk(shifted), net.trunk(image)), "the map moves: it is not invariant"
    assert not torch.allclose(net(shifted), net(image)), "nor is the output of a linear head"
    pooled = make_cnn(adaptive="max")
    torch.testing.assert_close(pooled(shifted), pooled(image)), "a global pool makes it invariant"

    def pool_features(x: Tensor) -> Tensor:
        return F.max_pool2d(net.trunk(x), 2)

    torch.testing.assert_close(pool_features(image.roll(2, 2)), pool_features(image).roll(1, 2))
    shifted_features = pool_features(image.roll(1, 2))
    assert not any(torch.allclose(shifted_features, pool_features(image).roll(k, 2)) for k in range(8)), (
        "shifts of a pool's stride only"
    )


def test_graph_conv_is_permutation_equivariant_and_sum_invariant() -> None:
    torch.manual_seed(0)
    edges = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 5]])
    x, order = sample_normal(6, 3), torch.tensor([3, 0, 5, 1, 4, 2])
    new_index = order.argsort()  # node i of the first graph is node place[i] of the second
    layers = [GCNConv(3, 8).double(), GCNConv(8, 2).double()]

    def apply_layers(x: Tensor, edges: Tensor) -> Tensor:
        graph = Graph(6, edges, dtype=torch.float64)
        return layers[1](layers[0](x, graph).relu(), graph)

    found, renamed = apply_layers(x, edges), apply_layers(x[order], new_index[edges])
    torch.testing.assert_close(renamed, found[order])
    assert not torch.allclose(renamed, found), "equivariant, not invariant"
    torch.testing.assert_close(renamed.sum(0), found.sum(0))
    flat = nn.Linear(18, 2).double()
    assert not torch.allclose(flat(x.flatten()), flat(x[order].flatten())), "a net over concatenated nodes is neither"
    assert not torch.allclose(apply_layers(x[order], edges), found[order]), "nor is one whose edges are not renamed"


# Without gradients.


def test_inference_tensors_cannot_enter_autograd_unlike_no_grad() -> None:
    """Within inference mode, no_grad has no further effect."""
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        no_grad_result = weight * 2
    (no_grad_result * weight).sum().backward()
    assert weight.grad is not None, "tensors made under no_grad may enter a graph later"
    assert no_grad_result._version == 0
    with torch.inference_mode():
        assert not torch.is_grad_enabled()
        inference_result = weight * 2
    assert inference_result.is_inference()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        inference_result * weight
    with pytest.raises(RuntimeError, match="do not track version counter"):
        inference_result._version  # noqa: B018
