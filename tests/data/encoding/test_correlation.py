"""Correlation graphs: strength, strongest edges, node roles and features."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.data.encoding import correlation
from trainer.models.layers.graph.graph import Graph


def series(steps: int = 40, nodes: int = 12) -> torch.Tensor:
    """Return columns of positive and negative correlation, and a constant one."""
    mixed = torch.randn(steps, 3) @ torch.randn(3, nodes) + torch.randn(steps, nodes)
    mixed[:, 5] = 0.1
    return mixed


def test_absolute_correlation_matches_numpy_and_is_zero_for_constants() -> None:
    x = series()
    varied = [node for node in range(12) if node != 5]
    expected = np.zeros((12, 12))
    expected[np.ix_(varied, varied)] = np.abs(np.corrcoef(x[:, varied].double().numpy().T))
    np.fill_diagonal(expected, 0)
    assert (np.corrcoef(x[:, varied].numpy().T) < -0.3).any(), "some correlations are negative"
    assert np.allclose(correlation.absolute_correlation(x).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1, -7e-9])
def test_constants_have_zero_correlation_despite_rounding(constant: float) -> None:
    x = torch.full((30, 3), constant)
    x[:, 0] = torch.randn(30)
    assert (correlation.absolute_correlation(x) == 0).all()
    assert correlation.top_k_edges(correlation.absolute_correlation(x), 2)[0].shape == (2, 0)


@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_top_k_edges_are_undirected_union_of_strongest(top_k: int) -> None:
    strength = correlation.absolute_correlation(series())
    edge_index, edge_weight = correlation.top_k_edges(strength, top_k)
    expected = {}
    for node, row in enumerate(strength.tolist()):
        for other in sorted(range(12), key=lambda other, row=row: -row[other])[:top_k]:  # type: ignore[misc]
            if row[other] > 0:
                expected[node, other] = expected[other, node] = row[other]
    weights = dict(zip(map(tuple, edge_index.t().tolist()), edge_weight.tolist(), strict=True))
    assert weights == pytest.approx(expected)
    assert list(weights) == sorted(weights)
    assert 5 not in edge_index, "a constant has no edge"
    Graph(12, edge_index, edge_weight)  # raises for negative or non-finite weights


def test_top_k_edges_breaks_ties_by_index() -> None:
    edge_index, _ = correlation.top_k_edges(1 - torch.eye(4).double(), 1)
    assert edge_index.t().tolist() == [[0, 1], [0, 2], [0, 3], [1, 0], [2, 0], [3, 0]]


def test_node_roles_are_standardized_degree_and_mean_strength() -> None:
    strength = correlation.absolute_correlation(series())
    edge_index, _ = correlation.top_k_edges(strength, 3)
    roles = correlation.node_roles(strength, edge_index).numpy()
    degree = np.array([(edge_index[1] == node).sum() for node in range(12)])
    for column, plain in zip(roles.T, (degree, strength.numpy().sum(1) / 11), strict=True):
        assert np.allclose(column, (plain - plain.mean()) / plain.std(), atol=1e-6)
    equal_strength = 0.3 * (1 - torch.eye(4).double())
    assert (correlation.node_roles(equal_strength, correlation.top_k_edges(equal_strength, 3)[0]) == 0).all()


def test_node_features_append_roles_to_every_step() -> None:
    run, roles = torch.randn(6, 4), torch.randn(4, 2)
    x = correlation.node_features(run, roles)
    assert x.shape == (6, 4, 3)
    assert torch.equal(x[..., 0], run)
    assert all(torch.equal(step, roles) for step in x[..., 1:])
