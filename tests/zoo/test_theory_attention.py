"""Claims about attention and high dimensions, each with a common wrong version."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tests.helpers.matrices import largest_singular_value, sample_normal
from trainer.models.layers.attention.efficient_attention import LinearAttention


def quadratic_linear_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``(phi(Q) phi(K)^T) V`` over its row sums, with an (n, n) intermediate."""
    weights = LinearAttention().log_features(q).exp() @ LinearAttention().log_features(k).exp().transpose(-2, -1)
    return weights / weights.sum(-1, keepdim=True) @ v


def count_multiplications(function: Callable[..., object], *args: Tensor) -> int:
    """Return the number of multiplications in matrix products."""
    with FlopCounterMode(display=False) as counter:
        function(*args)
    return counter.get_total_flops() // 2  # a multiplication and an addition are two


def test_linear_attention_matches_quadratic_order_with_positive_features() -> None:
    q, k, v = (sample_normal(1, 1, 30, 8, seed=seed) for seed in range(3))
    torch.testing.assert_close(LinearAttention()(q, k, v), quadratic_linear_attention(q, k, v), atol=1e-5, rtol=1e-5)
    assert (LinearAttention().log_features(sample_normal(1000, 8)).exp() > 0).all()
    bare = q @ k.transpose(-2, -1)
    assert (bare / bare.sum(-1, keepdim=True) < 0).any(), "without phi the weights may be negative"


def test_linear_attention_cost_is_linear_but_higher_for_short_sequences() -> None:
    d, dv = 16, 8
    costs = {}
    for n in (4, 64, 128, 256):
        args = sample_normal(1, 1, n, d), sample_normal(1, 1, n, d), sample_normal(1, 1, n, dv)
        costs[n] = (
            count_multiplications(LinearAttention(), *args),
            count_multiplications(quadratic_linear_attention, *args),
        )
        # One more value column computes the normalizer.
        assert costs[n] == (2 * n * d * (dv + 1), n * n * (d + dv))
    assert costs[256][0] == 4 * costs[64][0]
    assert costs[256][1] == 16 * costs[64][1]
    assert costs[256][0] < costs[256][1]
    assert costs[4][0] > costs[4][1], "linear is not cheaper for a short sequence"


def test_rank_k_attention_costs_n_d_k() -> None:
    n, d, k = 64, 16, 3
    scores = (sample_normal(n, d) @ sample_normal(n, d, seed=1).T / 4).softmax(1)
    u, s, wt = torch.linalg.svd(scores)
    u, s, w = u[:, :k], s[:k], wt[:k].T  # (n, k), (k,), (n, k)
    v = sample_normal(n, d, seed=2)

    def factored(v: Tensor) -> Tensor:
        return u @ (s[:, None] * (w.T @ v))

    dense_rank_k = u @ s.diag() @ w.T
    torch.testing.assert_close(factored(v), dense_rank_k @ v)
    assert count_multiplications(factored, v) == 2 * n * k * d < n * n * d
    assert largest_singular_value(scores - dense_rank_k) == pytest.approx(float(torch.linalg.svdvals(scores)[k])), (
        "the best of its rank"
    )
    with pytest.raises(RuntimeError):
        u.T @ (s[:, None] * (w @ v))  # wrong version: the shapes do not match


def attend(bias: Tensor, x: Tensor, value: float) -> Tensor:
    """One head over tokens x (n,) with W_Q = 0: the scores are the bias (n, n) alone."""
    tokens = x[:, None]
    return F.scaled_dot_product_attention(0 * tokens, tokens, value * tokens, attn_mask=bias)[:, 0]


def make_band_bias(n: int, before: float, here: float, after: float) -> Tensor:
    """The bias (n, n) that gives the token before, the token itself and the one after these scores, -inf all others."""
    bias = torch.full((n, n), -math.inf, dtype=torch.float64)
    for offset, score in ((-1, before), (0, here), (1, after)):
        bias.diagonal(offset).fill_(score)
    return bias


def test_attention_can_express_convolution() -> None:
    """Scores log 2, -inf and 0 are weights 2/3, 0 and 1/3; values scaled by three make them 2, 0 and 1."""
    x = F.pad(sample_normal(10), (1, 1))  # zero tokens at both ends
    kernel = torch.tensor([[[2.0, 0.0, 1.0]]], dtype=torch.float64)
    expected = F.conv1d(x[None, None], kernel)[0, 0]
    bias = make_band_bias(12, math.log(2), -math.inf, 0.0)
    torch.testing.assert_close(attend(bias, x, 3.0)[1:-1], expected)
    torch.testing.assert_close(attend(bias[1:-1, 1:-1], x[1:-1], 3.0)[1:-1], expected[1:-1])
    ends = attend(bias[1:-1, 1:-1], x[1:-1], 3.0)[[0, -1]]
    assert not torch.isclose(ends, expected[[0, -1]]).any(), "without the zero tokens a single neighbor gets all weight"


def test_infinite_or_equal_scores_cannot_express_convolution() -> None:
    x = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    assert attend(make_band_bias(4, 2 * math.inf, -math.inf, math.inf), x, 3.0)[1:-1].isnan().all()
    impulse = torch.eye(5, dtype=torch.float64)[2]
    equal_scores = attend(make_band_bias(5, 0.0, -math.inf, 0.0), impulse, 3.0)
    assert equal_scores.tolist() == [0, 1.5, 0, 1.5, 0], "1.5, 0, 1.5 instead of 1, 0, 2"
    correct_scores = attend(make_band_bias(5, math.log(2), -math.inf, 0.0), impulse, 3.0)
    assert correct_scores.tolist() == pytest.approx([0, 1, 0, 2, 0])


def hard_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Each query takes the value of its best key, the first of several."""
    return v[(q[:, None] * k[None, :]).argmax(1)]


def test_hard_attention_with_constant_query_is_max_pooling() -> None:
    for seed in range(50):
        x = sample_normal(7, seed=seed)
        assert (hard_attention(torch.ones(7).double(), x, x) == x.max()).all(), "for numbers below zero as well"
    zero = torch.tensor([3.0, 0.0, 5.0])
    assert hard_attention(torch.ones(3), zero, zero).tolist() == [5, 5, 5]
    assert hard_attention(zero, zero, zero).tolist() == [5, 3, 5], "the query 0 scores every key equally"
    assert hard_attention(-zero, zero, zero)[0] == 0, "a negative query selects the smallest key"


# Nearly orthogonal directions.


def test_there_are_exponentially_many_nearly_orthogonal_directions() -> None:
    """Johnson and Lindenstrauss on 0, e_1, ..., e_m: m = exp(n d^2 / c) unit vectors with products up to d <= 1."""
    n, d, c = 820, 0.8, 73.0
    m = int(math.exp(n * d**2 / c))
    assert m > 1.5 * n, "more than can be orthogonal"
    images = torch.randn(m, n, generator=torch.Generator().manual_seed(0)) / n**0.5  # of e_1, ..., e_m
    epsilon = d / 3
    products = images @ images.T
    squares = products.diagonal().clone()
    half_distances = (squares[:, None] + squares[None, :]) / 2 - products
    assert ((squares - 1).abs() <= epsilon).all(), "the pair (0, e_j): within 1 +- epsilon, not 2 (1 +- epsilon)"
    assert ((half_distances.fill_diagonal_(1) - 1).abs() <= epsilon).all(), "half the squared distance of e_i and e_j"
    products.fill_diagonal_(0)
    assert (products.abs() <= 2 * epsilon).all()
    assert ((products / (squares[:, None] * squares[None, :]).sqrt()).abs() <= d).all()


def test_inner_product_bound_of_unit_vectors_needs_norms() -> None:
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
