"""Claims that are told about neural networks, each beside the wording of it that is wrong."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from trainer.models.cnn import CNN
from trainer.models.layers.dense import dense
from trainer.models.layers.graph import GraphConvolution, normalised_adjacency
from trainer.models.rnn import RNN


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def sigma(matrix: Tensor) -> float:
    """The largest singular value."""
    return float(torch.linalg.matrix_norm(matrix, 2))


# Gradients through depth and time.


def scalar_net(weights: list[float]) -> nn.Sequential:
    """``relu(w_n ... relu(w_1 x))``, one unit a layer."""
    net = nn.Sequential(dense([1] * (len(weights) + 1), nn.ReLU), nn.ReLU()).double()
    with torch.no_grad():
        for layer, weight in zip((m for m in net.modules() if isinstance(m, nn.Linear)), weights, strict=True):
            layer.weight.fill_(weight)
            layer.bias.zero_()
    return net


def slope(net: nn.Module, x: float) -> float:
    at = torch.tensor([[x]], dtype=torch.float64, requires_grad=True)
    (found,) = torch.autograd.grad(net(at).sum(), at)
    return float(found)


def test_the_gradient_of_a_deep_scalar_relu_net_is_zero_or_the_product_of_its_weights() -> None:
    found = set()
    for seed in range(200):
        first, *rest = normal(4, seed=seed).tolist()
        weights = [first, *(abs(w) for w in rest)] if seed % 2 else [first, *rest]
        for x in (-1.0, 1.0):
            gradient, product = slope(scalar_net(weights), x), math.prod(map(abs, weights))
            assert gradient == 0 or abs(gradient) == pytest.approx(product)
            found.add((gradient > 0) - (gradient < 0))
    assert found == {-1, 0, 1}, "an input below zero under a negative first weight turns the sign: |W|, not W"


def test_it_explodes_vanishes_or_is_zero() -> None:
    assert slope(scalar_net([1.5] * 50), 1.0) == pytest.approx(1.5**50)
    assert slope(scalar_net([0.5] * 50), 1.0) == pytest.approx(0.5**50)
    assert 1.5**50 > 1e8
    assert 0.5**50 < 1e-15
    one_off = [1.5] * 25 + [-1.5] + [1.5] * 24
    assert slope(scalar_net(one_off), 1.0) == 0, "the product alone, as of a linear net, is not it"


def test_it_is_no_recurrent_net_whose_weights_are_all_one() -> None:
    """The source calls it an RNN. One weight shared by n steps has a power for a gradient, not a product."""
    weights = [0.5, 2.0, 3.0]
    assert slope(scalar_net(weights), 1.0) == pytest.approx(3.0)
    assert all(w ** len(weights) != pytest.approx(3.0) for w in weights)


def jacobian(weight: Tensor, bias: Tensor, x: Tensor, steps: int) -> Tensor:
    """``d x_n / d x_1`` of ``x_{t+1} = sigmoid(W x_t + b)`` after n - 1 steps."""

    def unrolled(state: Tensor) -> Tensor:
        for _ in range(steps):
            state = (weight @ state + bias).sigmoid()
        return state

    found = torch.autograd.functional.jacobian(unrolled, x)
    assert isinstance(found, Tensor)
    return found


@pytest.mark.parametrize("steps", [1, 2, 5, 10])
def test_a_sigmoid_rnn_forgets_by_a_sixteenth_a_step(steps: int) -> None:
    weight = normal(6, 6)
    weight = weight / sigma(weight) / 4
    found = sigma(jacobian(weight, normal(6, seed=1), normal(6, seed=2), steps))
    assert 0 <= found <= (1 / 16) ** steps
    # Tight: a state that makes every sigmoid as steep as it can be, under a multiple of the identity.
    eye = torch.eye(3, dtype=torch.float64) / 4
    flat = torch.full((3,), 0.5, dtype=torch.float64)
    assert sigma(jacobian(eye, -eye @ flat, flat, steps)) == pytest.approx((1 / 16) ** steps)


def test_that_bound_is_not_positive_and_comes_from_an_inequality() -> None:
    """The source has ``0 <`` and ``sigma(AB) = sigma(A) sigma(B)``."""
    singular = torch.zeros(3, 3, dtype=torch.float64)
    singular[0, 1] = 0.25
    assert sigma(singular) == 0.25
    assert sigma(jacobian(singular, torch.zeros(3).double(), torch.zeros(3).double(), 2)) == 0
    pairs = [(normal(4, 4, seed=2 * i), normal(4, 4, seed=2 * i + 1)) for i in range(50)]
    assert all(sigma(a @ b) <= sigma(a) * sigma(b) + 1e-12 for a, b in pairs)
    assert all(sigma(a @ b) < 0.999 * sigma(a) * sigma(b) for a, b in pairs), "equal in none of fifty"


def remembered(forget_bias: float) -> float:
    """How much the state after 50 steps moves with the first input."""
    torch.manual_seed(0)
    lstm = RNN("lstm", 4, 1, 32, 1, False, 0.0, "last", forget_bias=forget_bias)
    x = torch.randn(8, 50, 4).requires_grad_()
    _, (state, _) = lstm.rnn(x)
    (gradient,) = torch.autograd.grad(state.sum(), x)
    return float(gradient[:, 0].norm())


def test_an_lstm_keeps_its_gradient_only_with_an_open_forget_gate() -> None:
    """It is said to have solved the vanishing gradient. With a bias of 0 a half is kept at each step."""
    opened, half = remembered(3.0), remembered(0.0)
    assert opened > 1e-2
    assert half < 1e-9


# Attention.


def feature(x: Tensor) -> Tensor:
    return F.elu(x) + 1


def keys_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``phi(Q) (phi(K)^T V)``: what stands in the middle is (d, d_v)."""
    return feature(q) @ (feature(k).T @ v)


def scores_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``(phi(Q) phi(K)^T) V``: what stands in the middle is (n, n)."""
    return (feature(q) @ feature(k).T) @ v


def multiplications(function: object, *given: Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        function(*given)  # type: ignore[operator]
    return counter.get_total_flops() // 2  # a multiplication and an addition are two


def test_linear_attention_is_the_same_in_both_orders_and_its_features_must_be_positive() -> None:
    q, k, v = (normal(30, 8, seed=seed) for seed in range(3))
    torch.testing.assert_close(keys_first(q, k, v), scores_first(q, k, v))
    shares = feature(q) @ feature(k).T
    shares = shares / shares.sum(1, keepdim=True)
    assert (shares > 0).all()
    bare = q @ k.T
    assert ((bare / bare.sum(1, keepdim=True)) < 0).any(), "without phi what is called a share may be negative"


def test_linear_attention_costs_n_d_dv_and_more_than_quadratic_below_n_of_d() -> None:
    d, dv = 16, 8
    costs = {}
    for n in (4, 64, 128, 256):
        given = normal(n, d), normal(n, d), normal(n, dv)
        costs[n] = multiplications(keys_first, *given), multiplications(scores_first, *given)
        assert costs[n] == (2 * n * d * dv, n * n * (d + dv))
    assert costs[256][0] == 2 * costs[128][0] == 4 * costs[64][0]
    assert costs[256][1] == 4 * costs[128][1]
    assert costs[256][0] < costs[256][1]
    assert costs[4][0] > costs[4][1], "linear is not cheaper for a short sequence"


def test_attention_of_rank_k_costs_n_d_k() -> None:
    n, d, k = 64, 16, 3
    scores = (normal(n, d) @ normal(n, d, seed=1).T / 4).softmax(1)
    u, s, wt = torch.linalg.svd(scores)
    u, s, w = u[:, :k], s[:k], wt[:k].T  # (n, k), (k,), (n, k)
    v = normal(n, d, seed=2)

    def factored(v: Tensor) -> Tensor:
        return u @ (s[:, None] * (w.T @ v))

    dense_rank_k = u @ s.diag() @ w.T
    torch.testing.assert_close(factored(v), dense_rank_k @ v)
    assert multiplications(factored, v) == 2 * n * k * d < n * n * d
    assert sigma(scores - dense_rank_k) == pytest.approx(float(torch.linalg.svdvals(scores)[k])), "the best of its rank"
    with pytest.raises(RuntimeError):
        u.T @ (s[:, None] * (w @ v))  # the shapes as the source's text has them


def attend(bias: Tensor, x: Tensor, value: float) -> Tensor:
    """One head over tokens x (n,) with W_Q = 0: the scores are the bias (n, n) alone."""
    tokens = x[:, None]
    return F.scaled_dot_product_attention(0 * tokens, tokens, value * tokens, attn_mask=bias)[:, 0]


def neighbours(n: int, before: float, here: float, after: float) -> Tensor:
    """The bias (n, n) that gives the token before, the token itself and the one after these scores, -inf all others."""
    bias = torch.full((n, n), -math.inf, dtype=torch.float64)
    for offset, score in ((-1, before), (0, here), (1, after)):
        bias.diagonal(offset).fill_(score)
    return bias


def test_attention_can_be_the_convolution_with_2_0_1() -> None:
    """Scores log 2, -inf and 0 are shares 2/3, 0 and 1/3; values three times as large make 2, 0 and 1 of them."""
    x = F.pad(normal(10), (1, 1))  # zero tokens at both ends
    kernel = torch.tensor([[[2.0, 0.0, 1.0]]], dtype=torch.float64)
    expected = F.conv1d(x[None, None], kernel)[0, 0]
    bias = neighbours(12, math.log(2), -math.inf, 0.0)
    torch.testing.assert_close(attend(bias, x, 3.0)[1:-1], expected)
    torch.testing.assert_close(attend(bias[1:-1, 1:-1], x[1:-1], 3.0)[1:-1], expected[1:-1])
    ends = attend(bias[1:-1, 1:-1], x[1:-1], 3.0)[[0, -1]]
    assert not torch.isclose(ends, expected[[0, -1]]).any(), "without the zero tokens a single neighbour gets all"


def test_the_scores_of_the_source_make_no_such_convolution() -> None:
    x = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert attend(neighbours(4, 2 * math.inf, -math.inf, math.inf), x, 3.0)[1:-1].isnan().all()
    impulse = torch.eye(5, dtype=torch.float64)[2]
    picture = attend(neighbours(5, 0.0, -math.inf, 0.0), impulse, 3.0)
    assert picture.tolist() == [0, 1.5, 0, 1.5, 0], "1.5, 0, 1.5 where 1, 0, 2 was wanted"
    right = attend(neighbours(5, math.log(2), -math.inf, 0.0), impulse, 3.0)
    assert right.tolist() == pytest.approx([0, 1, 0, 2, 0])


def hard_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each query takes the value of its best key, the first of several."""
    return v[(q[:, None] * k[None, :]).argmax(1)]


def test_hard_attention_is_a_max_pool_with_a_constant_query() -> None:
    for seed in range(50):
        x = normal(7, seed=seed)
        assert (hard_attention(torch.ones(7).double(), x, x) == x.max()).all(), "for numbers below zero as well"
    zero = torch.tensor([3.0, 0.0, 5.0])
    assert hard_attention(torch.ones(3), zero, zero).tolist() == [5, 5, 5]
    assert hard_attention(zero, zero, zero).tolist() == [5, 3, 5], "a query of x itself finds every key as good at 0"
    assert hard_attention(-zero, zero, zero)[0] == 0, "and the smallest below"


# Many directions in few dimensions.


def test_there_are_exponentially_many_nearly_orthogonal_directions() -> None:
    """Johnson and Lindenstrauss on 0, e_1, ..., e_m: m = exp(n d^2 / c) unit vectors with products up to d <= 1."""
    n, d, c = 820, 0.8, 73.0
    m = int(math.exp(n * d**2 / c))
    assert m > 1.5 * n, "more than can be orthogonal"
    images = torch.randn(m, n, generator=torch.Generator().manual_seed(0)) / n**0.5  # of e_1, ..., e_m
    epsilon = d / 3
    products = images @ images.T
    squares = products.diagonal().clone()
    apart = (squares[:, None] + squares[None, :]) / 2 - products
    assert ((squares - 1).abs() <= epsilon).all(), "the pair (0, e_j): within 1 +- epsilon, not 2 (1 +- epsilon)"
    assert ((apart.fill_diagonal_(1) - 1).abs() <= epsilon).all(), "half the squared distance of e_i and e_j"
    products.fill_diagonal_(0)
    assert (products.abs() <= 2 * epsilon).all()
    assert ((products / (squares[:, None] * squares[None, :]).sqrt()).abs() <= d).all()


def test_the_bound_on_unit_vectors_needs_the_norms() -> None:
    """``2 epsilon / (1 - epsilon) <= d`` with epsilon = d / 3: for every d up to 1, and none above."""
    for d in torch.linspace(0.01, 2.0, 200).tolist():
        epsilon = d / 3
        assert (2 * epsilon / (1 - epsilon) <= d + 1e-12) == (d <= 1 + 1e-9)
    # Two images that keep every distance within 1 +- epsilon, and whose directions exceed the 2 epsilon of the images.
    epsilon = 0.25
    cosine = -2 * epsilon / (1 - epsilon)
    u, v = (torch.tensor(w) * (1 - epsilon) ** 0.5 for w in ([1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]))
    distortions = [float(u @ u) - 1, float(v @ v) - 1, float((u - v).square().sum()) / 2 - 1]
    assert max(map(abs, distortions)) <= epsilon + 1e-6
    assert abs(cosine) > 2 * epsilon


# Symmetries.


def convolutions(adaptive: Literal["none", "max"] = "none") -> CNN:
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


def test_a_convolutional_net_is_equivariant_to_shifts_not_invariant() -> None:
    image = F.pad(normal(1, 1, 6, 6), (5, 5, 5, 5))  # zeros all round: nothing reaches the border
    shifted = image.roll((2, 1), (2, 3))
    net = convolutions()
    torch.testing.assert_close(net.trunk(shifted), net.trunk(image).roll((2, 1), (2, 3)))
    assert not torch.allclose(net.trunk(shifted), net.trunk(image)), "the map moves: it is not invariant"
    assert not torch.allclose(net(shifted), net(image)), "nor is what a linear head makes of it"
    pooled = convolutions(adaptive="max")
    torch.testing.assert_close(pooled(shifted), pooled(image)), "a pool over everything is what makes it invariant"

    def halved(x: Tensor) -> Tensor:
        return F.max_pool2d(net.trunk(x), 2)

    torch.testing.assert_close(halved(image.roll(2, 2)), halved(image).roll(1, 2))
    moved = halved(image.roll(1, 2))
    assert not any(torch.allclose(moved, halved(image).roll(k, 2)) for k in range(8)), "shifts of a pool's stride only"


def test_a_graph_convolution_is_equivariant_to_the_order_of_nodes_and_its_sum_invariant() -> None:
    torch.manual_seed(0)
    edges = torch.tensor([[0, 1, 2, 3, 4, 0, 2], [1, 2, 3, 4, 0, 2, 5]])
    x, order = normal(6, 3), torch.tensor([3, 0, 5, 1, 4, 2])
    place = order.argsort()  # node i of the first graph is node place[i] of the second
    layers = [GraphConvolution(3, 8).double(), GraphConvolution(8, 2).double()]

    def run(x: Tensor, edges: Tensor) -> Tensor:
        adjacency = normalised_adjacency(edges, None, 6, torch.float64)
        return layers[1](layers[0](x, adjacency).relu(), adjacency)

    found, renamed = run(x, edges), run(x[order], place[edges])
    torch.testing.assert_close(renamed, found[order])
    assert not torch.allclose(renamed, found), "equivariant, not invariant"
    torch.testing.assert_close(renamed.sum(0), found.sum(0))
    flat = nn.Linear(18, 2).double()
    assert not torch.allclose(flat(x.flatten()), flat(x[order].flatten())), "a net over nodes side by side is neither"
    assert not torch.allclose(run(x[order], edges), found[order]), "nor is one whose edges are not renamed"


# Without gradients.


def test_inference_mode_is_more_than_no_grad() -> None:
    """The source says that it uses both. Within inference mode, no_grad does nothing more."""
    weight = torch.ones(2, requires_grad=True)
    with torch.no_grad():
        later = weight * 2
    (later * weight).sum().backward()
    assert weight.grad is not None, "what no_grad made may enter a graph afterwards"
    assert later._version == 0
    with torch.inference_mode():
        assert not torch.is_grad_enabled()
        never = weight * 2
    assert never.is_inference()
    with pytest.raises(RuntimeError, match="Inference tensors cannot be saved for backward"):
        never * weight
    with pytest.raises(RuntimeError, match="do not track version counter"):
        never._version  # noqa: B018
