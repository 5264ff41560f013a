"""Sparse products, softmax over rows and dropout."""

from __future__ import annotations

import pytest
import torch

from trainer.models.layers.graph.sparse import (
    SparseMatrix,
    SparsePattern,
    row_softmax,
    sparse_dropout,
    sparse_matmul,
    to_sparse_if_mostly_zero,
)


def test_row_softmax_is_stable_for_large_scores() -> None:
    pattern, _ = SparsePattern.from_coo(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), (2, 2))
    weights = row_softmax(pattern, torch.tensor([1000.0, 1000.0, -1000.0]))
    torch.testing.assert_close(weights, torch.tensor([0.5, 0.5, 1.0]))


def test_row_softmax_of_masked_row_is_zero_with_zero_gradient() -> None:
    pattern, _ = SparsePattern.from_coo(torch.tensor([0, 0, 1, 1, 3]), torch.tensor([0, 1, 0, 2, 1]), (4, 3))
    scores = torch.tensor([-torch.inf, -torch.inf, 0.0, -torch.inf, -torch.inf], dtype=torch.double, requires_grad=True)
    weights = row_softmax(pattern, scores)
    assert weights.tolist() == [0.0, 0.0, 1.0, 0.0, 0.0]
    (weights * torch.randn(5)).sum().backward()
    assert scores.grad is not None
    assert not scores.grad.any()


def test_gradients_match_finite_differences() -> None:
    torch.manual_seed(0)
    rows, cols = torch.tensor([3, 0, 0, 2, 3]), torch.tensor([1, 2, 0, 1, 2])  # row 1 is empty
    pattern, _ = SparsePattern.from_coo(rows, cols, (4, 3))
    values = torch.randn(5, dtype=torch.double, requires_grad=True)
    dense = torch.randn(3, 2, dtype=torch.double, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v, d: sparse_matmul(pattern, v, d), (values, dense))
    assert torch.autograd.gradcheck(lambda v: row_softmax(pattern, v), (values,))


def test_dropout_has_given_rate_and_keeps_mean() -> None:
    torch.manual_seed(0)
    ones = torch.ones(1001, 999)
    for p in (0.1, 0.5, 0.6):
        out = sparse_dropout(ones, p, training=True)
        assert abs(float((out == 0).float().mean()) - p) < 0.002
        assert out.unique().tolist() == [0.0, pytest.approx(1 / (1 - p), rel=1e-4)]
    # Adjacent elements are independent: columns of one 64-bit word are uncorrelated.
    out = sparse_dropout(torch.ones(4000, 4), 0.5, training=True)
    assert (torch.corrcoef(out.t()) - torch.eye(4)).abs().max() < 0.08
    assert torch.equal(sparse_dropout(ones, 0.5, training=False), ones)
    assert not sparse_dropout(ones, 1.0, training=True).any()


def test_dropout_of_sparse_features_keeps_zeros() -> None:
    x = torch.eye(400)
    sparse = to_sparse_if_mostly_zero(x)
    assert isinstance(sparse, SparseMatrix)
    out = sparse_dropout(sparse, 0.5, training=True) @ torch.eye(400)
    assert not out[~x.bool()].any()
    assert 140 < int((out.diagonal() == 2).sum()) < 260


def test_products_of_several_matrices_by_vmap_equal_single_ones() -> None:
    pattern, order = SparsePattern.from_coo(torch.tensor([0, 2, 0]), torch.tensor([1, 0, 2]), (3, 3))
    values, several = torch.tensor([1.0, -2.0, 3.0])[order], torch.randn(4, 3, 2, requires_grad=True)
    products = torch.vmap(lambda dense: sparse_matmul(pattern, values, dense))(several)
    expected = torch.stack([sparse_matmul(pattern, values, dense) for dense in several])
    torch.testing.assert_close(products, expected)
    weights = torch.randn_like(products)
    joint, single = (torch.autograd.grad((product * weights).sum(), several)[0] for product in (products, expected))
    torch.testing.assert_close(joint, single)


@pytest.mark.parametrize("is_shared", [True, False])
def test_products_of_several_sparse_matrices_by_vmap_equal_single_ones(is_shared: bool) -> None:
    """The matrices have the same pattern; the dense ones are equal or not."""
    rows, cols = torch.tensor([0, 2, 0, 1]), torch.tensor([1, 0, 2, 2])
    pattern, _ = SparsePattern.from_coo(rows, cols, (3, 4))
    values = torch.randn(5, 4, requires_grad=True)
    dense = torch.randn(*([] if is_shared else [5]), 4, 2, requires_grad=True)
    each = dense.expand(5, 4, 2) if is_shared else dense
    products = torch.vmap(lambda own, x: SparseMatrix(pattern, own) @ x, (0, None if is_shared else 0))(values, dense)
    expected = torch.stack([sparse_matmul(pattern, *pair) for pair in zip(values, each, strict=True)])
    torch.testing.assert_close(products, expected)
    weights = torch.randn_like(products)
    joint, single = (
        torch.autograd.grad((product * weights).sum(), (values, dense), retain_graph=True)
        for product in (products, expected)
    )
    torch.testing.assert_close(joint, single)
