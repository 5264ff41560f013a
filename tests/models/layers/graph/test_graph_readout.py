"""Graph pooling against plain loops, and categorical embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from trainer.models.layers.categorical_embedding import CategoricalEmbedding
from trainer.models.layers.graph.graph_readout import GraphPool

SIZES = [3, 1, 4]
POOLS = ("mean", "sum", "max", "attention")
every_pool = pytest.mark.parametrize("kind", POOLS)


def reference_pool(pool: GraphPool, h: Tensor) -> Tensor:
    """Pool graph by graph in plain Python."""

    def attention_pool(rows: list[list[float]]) -> list[float]:
        assert pool.score is not None
        weight = [math.exp(sum(w * v for w, v in zip(pool.score.tolist(), row, strict=True))) for row in rows]
        return [
            sum(w * v for w, v in zip(weight, column, strict=True)) / sum(weight) for column in zip(*rows, strict=True)
        ]

    kinds: dict[str, Callable[[list[list[float]]], list[float]]] = {
        "mean": lambda rows: [sum(column) / len(rows) for column in zip(*rows, strict=True)],
        "sum": lambda rows: [sum(column) for column in zip(*rows, strict=True)],
        "max": lambda rows: [max(column) for column in zip(*rows, strict=True)],
        "attention": attention_pool,
    }
    return torch.tensor([kinds[pool.kind](part.tolist()) for part in h.split(SIZES)])


@every_pool
def test_pools_match_a_reference_loop(kind: str) -> None:
    h, pool = torch.randn(8, 5), GraphPool(kind, 5)  # type: ignore[arg-type]
    torch.testing.assert_close(pool(h, torch.tensor(SIZES)), reference_pool(pool, h), atol=1e-6, rtol=1e-5)


@every_pool
def test_pool_gradients_match_finite_differences(kind: str) -> None:
    pool = GraphPool(kind, 5).double()  # type: ignore[arg-type]
    h = torch.randn(8, 5, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h, *_: pool(h, torch.tensor(SIZES)), (h, *pool.parameters()))


@every_pool
def test_bfloat16_pool_has_finite_gradients(kind: str) -> None:
    linear, pool = torch.nn.Linear(5, 5), GraphPool(kind, 5)  # type: ignore[arg-type]
    h = torch.randn(8, 5)
    with torch.autocast("cpu", torch.bfloat16):
        pooled = pool(linear(h), torch.tensor(SIZES))
    pooled.float().square().sum().backward()
    torch.testing.assert_close(pooled.float(), pool(linear(h), torch.tensor(SIZES)), atol=0.05, rtol=0.05)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in (*linear.parameters(), *pool.parameters()))


@every_pool
def test_graphs_of_a_batch_are_independent(kind: str) -> None:
    """Outputs and gradients do not depend on large features of another graph."""
    pool = GraphPool(kind, 5)  # type: ignore[arg-type]
    h = torch.randn(8, 5)
    h[4:] *= 1e4
    h.requires_grad_()
    pooled = pool(h, torch.tensor(SIZES))
    separate = pool(h[:4], torch.tensor(SIZES[:2]))
    torch.testing.assert_close(pooled[:2], separate)
    pooled[0].sum().backward()
    assert h.grad is not None
    assert not h.grad[3:].any()
    assert h.grad[:3].any()
    assert pooled.isfinite().all()


def test_attention_weights_sum_to_one_for_any_scores() -> None:
    pool = GraphPool("attention", 2)
    h = torch.tensor(
        [[1000.0, 1.0], [-1000.0, 1.0], [999.0, 1.0], [0.0, 1.0], [5.0, 1.0], [5.0, 1.0], [5.0, 1.0], [5.0, 1.0]]
    )
    torch.testing.assert_close(pool(h, torch.tensor(SIZES))[:, 1], torch.ones(3))


def test_categorical_embedding_equals_linear_on_one_hot() -> None:
    embed = CategoricalEmbedding([3, 2, 4], 5)
    x = torch.tensor([[2, 1, 0], [0, 0, 3], [1, 1, 1], [2, 0, 2]])
    one_hot = torch.cat([torch.nn.functional.one_hot(c, n) for c, n in zip(x.t(), (3, 2, 4), strict=True)], 1).float()
    torch.testing.assert_close(embed(x), one_hot @ embed.embedding.weight)
    assert sum(p.numel() for p in embed.parameters()) == 9 * 5


def test_invalid_codes_raise() -> None:
    embed = CategoricalEmbedding([3, 2], 5)
    with pytest.raises(ValueError, match=r"codes of column 1 are 0\.\.1; row 1 has 2"):
        embed(torch.tensor([[2, 1], [0, 2]]))
    with pytest.raises(ValueError, match=r"codes of column 0 are 0\.\.2; row 0 has -1"):
        embed(torch.tensor([[-1, 0]]))
    with pytest.raises(ValueError, match=r"whole-number codes in 2 columns, found float32 \(4, 2\)"):
        embed(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"in 2 columns, found int64 \(4, 3\)"):
        embed(torch.zeros(4, 3).long())
