from __future__ import annotations

import numpy as np
import pytest
import torch

from trainer.data.encoding import correlation
from trainer.models.layers.graph.graph import Graph


def series(steps: int = 40, nodes: int = 12) -> torch.Tensor:
    """Columns that go together more or less, some against each other, and one that never changes."""
    mixed = torch.randn(steps, 3) @ torch.randn(3, nodes) + torch.randn(steps, nodes)
    mixed[:, 5] = 0.1
    return mixed


def test_strength_is_the_size_of_the_correlation_and_a_constant_has_none() -> None:
    given = series()
    varied = [node for node in range(12) if node != 5]
    expected = np.zeros((12, 12))
    expected[np.ix_(varied, varied)] = np.abs(np.corrcoef(given[:, varied].double().numpy().T))
    np.fill_diagonal(expected, 0)
    assert (np.corrcoef(given[:, varied].numpy().T) < -0.3).any(), "signs are what this is about"
    assert np.allclose(correlation.absolute_correlation(given).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e6 + 0.1, -7e-9])
def test_no_constant_correlates_by_its_rounding(constant: float) -> None:
    given = torch.full((30, 3), constant)
    given[:, 0] = torch.randn(30)
    assert (correlation.absolute_correlation(given) == 0).all()
    assert correlation.top_k_edges(correlation.absolute_correlation(given), 2)[0].shape == (2, 0)


@pytest.mark.parametrize("top_k", [1, 3, 50])
def test_the_strongest_links_of_either_end_are_kept_in_both_directions(top_k: int) -> None:
    strength = correlation.absolute_correlation(series())
    edge_index, edge_weight = correlation.top_k_edges(strength, top_k)
    expected = {}
    for node, row in enumerate(strength.tolist()):
        for other in sorted(range(12), key=lambda other, row=row: -row[other])[:top_k]:  # type: ignore[misc]
            if row[other] > 0:
                expected[node, other] = expected[other, node] = row[other]
    found = dict(zip(map(tuple, edge_index.t().tolist()), edge_weight.tolist(), strict=True))
    assert found == pytest.approx(expected)
    assert list(found) == sorted(found)
    assert 5 not in edge_index, "a constant is linked to none"
    Graph(12, edge_index, edge_weight)  # which refuses what is negative or not a number


def test_equals_are_taken_in_order() -> None:
    edge_index, _ = correlation.top_k_edges(1 - torch.eye(4).double(), 1)
    assert edge_index.t().tolist() == [[0, 1], [0, 2], [0, 3], [1, 0], [2, 0], [3, 0]]


def test_roles_are_degree_and_mean_strength_in_deviations() -> None:
    strength = correlation.absolute_correlation(series())
    edge_index, _ = correlation.top_k_edges(strength, 3)
    found = correlation.node_roles(strength, edge_index).numpy()
    degree = np.array([(edge_index[1] == node).sum() for node in range(12)])
    for column, plain in zip(found.T, (degree, strength.numpy().sum(1) / 11), strict=True):
        assert np.allclose(column, (plain - plain.mean()) / plain.std(), atol=1e-6)
    alike = 0.3 * (1 - torch.eye(4).double())
    assert (correlation.node_roles(alike, correlation.top_k_edges(alike, 3)[0]) == 0).all()


def test_steps_carry_roles_along() -> None:
    run, roles = torch.randn(6, 4), torch.randn(4, 2)
    x = correlation.node_features(run, roles)
    assert x.shape == (6, 4, 3)
    assert torch.equal(x[..., 0], run)
    assert all(torch.equal(step, roles) for step in x[..., 1:])
