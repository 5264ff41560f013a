"""Claims that are told about attention and high dimensions, each beside the wording of it that is wrong."""

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


def scores_first(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """``(phi(Q) phi(K)^T) V`` over the sums of its rows: what stands in the middle is (n, n)."""
    shares = LinearAttention().log_features(q).exp() @ LinearAttention().log_features(k).exp().transpose(-2, -1)
    return shares / shares.sum(-1, keepdim=True) @ v


def multiplications(function: Callable[..., object], *given: Tensor) -> int:
    """Those of matrix products."""
    with FlopCounterMode(display=False) as counter:
        function(*given)
    return counter.get_total_flops() // 2  # a multiplication and an addition are two


def test_linear_attention_is_the_same_in_both_orders_and_its_features_must_be_positive() -> None:
    q, k, v = (sample_normal(1, 1, 30, 8, seed=seed) for seed in range(3))
    torch.testing.assert_close(LinearAttention()(q, k, v), scores_first(q, k, v), atol=1e-5, rtol=1e-5)
    assert (LinearAttention().log_features(sample_normal(1000, 8)).exp() > 0).all()
    bare = q @ k.transpose(-2, -1)
    assert (bare / bare.sum(-1, keepdim=True) < 0).any(), "without phi what is called a share may be negative"


def test_linear_attention_costs_n_d_dv_and_more_than_quadratic_below_n_of_d() -> None:
    d, dv = 16, 8
    costs = {}
    for n in (4, 64, 128, 256):
        given = sample_normal(1, 1, n, d), sample_normal(1, 1, n, d), sample_normal(1, 1, n, dv)
        costs[n] = multiplications(LinearAttention(), *given), multiplications(scores_first, *given)
        # One more value gathers what shares are divided by.
        assert costs[n] == (2 * n * d * (dv + 1), n * n * (d + dv))
    assert costs[256][0] == 4 * costs[64][0]
    assert costs[256][1] == 16 * costs[64][1]
    assert costs[256][0] < costs[256][1]
    assert costs[4][0] > costs[4][1], "linear is not cheaper for a short sequence"


def test_attention_of_rank_k_costs_n_d_k() -> None:
    n, d, k = 64, 16, 3
    scores = (sample_normal(n, d) @ sample_normal(n, d, seed=1).T / 4).softmax(1)
    u, s, wt = torch.linalg.svd(scores)
    u, s, w = u[:, :k], s[:k], wt[:k].T  # (n, k), (k,), (n, k)
    v = sample_normal(n, d, seed=2)

    def factored(v: Tensor) -> Tensor:
        return u @ (s[:, None] * (w.T @ v))

    dense_rank_k = u @ s.diag() @ w.T
    torch.testing.assert_close(factored(v), dense_rank_k @ v)
    assert multiplications(factored, v) == 2 * n * k * d < n * n * d
    assert largest_singular_value(scores - dense_rank_k) == pytest.approx(float(torch.linalg.svdvals(scores)[k])), (
        "the best of its rank"
    )
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
    x = F.pad(sample_normal(10), (1, 1))  # zero tokens at both ends
    kernel = torch.tensor([[[2.0, 0.0, 1.0]]], dtype=torch.float64)
    expected = F.conv1d(x[None, None], kernel)[0, 0]
    bias = neighbours(12, math.log(2), -math.inf, 0.0)
    torch.testing.assert_close(attend(bias, x, 3.0)[1:-1], expected)
    torch.testing.assert_close(attend(bias[1:-1, 1:-1], x[1:-1], 3.0)[1:-1], expected[1:-1])
    ends = attend(bias[1:-1, 1:-1], x[1:-1], 3.0)[[0, -1]]
    assert not torch.isclose(ends, expected[[0, -1]]).any(), "without the zero tokens a single neighbour gets all"


def test_scores_from_the_source_cannot_express_that_convolution() -> None:
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


def test_hard_attention_with_a_constant_query_is_max_pooling() -> None:
    for seed in range(50):
        x = sample_normal(7, seed=seed)
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
