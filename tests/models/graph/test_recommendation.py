"""Recommendation models against numpy and PyG."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.data.splits.negative_sampling import to_undirected
from trainer.models.graph.recommendation import BipartiteGNN, MatrixFactorization

CLICKS = torch.tensor([[0, 4], [0, 5], [1, 5], [2, 6], [2, 4], [1, 4]])  # user 3 and item 7 have none
EDGES = to_undirected(CLICKS)
PAIRS = torch.cartesian_prod(torch.arange(4), torch.arange(4, 8))


def reference_embeddings(embeddings: Tensor, layers: int) -> np.ndarray:
    """Propagate LightGCN edge by edge in numpy."""
    current = embeddings.detach().double().numpy()
    degree = np.bincount(EDGES[1].numpy(), minlength=len(current))
    total = current.copy()
    for _ in range(layers):
        messages = np.zeros_like(current)
        for source, target in EDGES.t().tolist():
            messages[target] += current[source] / np.sqrt(degree[source] * degree[target])
        current = messages
        total += current
    return total / (layers + 1)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_propagation_matches_the_formula(layers: int) -> None:
    model = BipartiteGNN(num_nodes=8, width=5, layers=layers)
    expected = reference_embeddings(model.embeddings, layers)
    np.testing.assert_allclose(model.embed_nodes(EDGES).detach().numpy(), expected, atol=1e-6)
    scores = (expected[PAIRS[:, 0]] * expected[PAIRS[:, 1]]).sum(1)
    np.testing.assert_allclose(model(PAIRS, EDGES).detach().numpy()[:, 0], scores, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_propagation_and_its_gradient_equal_pyg() -> None:
    from torch_geometric.nn import LGConv

    model, conv = BipartiteGNN(num_nodes=8, width=5, layers=2), LGConv()
    pyg_embeddings = model.embeddings.detach().clone().requires_grad_()
    first = conv(pyg_embeddings, EDGES)
    expected = (pyg_embeddings + first + conv(first, EDGES)) / 3
    output = model.embed_nodes(EDGES)
    torch.testing.assert_close(output, expected, atol=1e-6, rtol=1e-6)
    grad_output = torch.randn_like(output)
    output.backward(grad_output)
    expected.backward(grad_output)
    torch.testing.assert_close(model.embeddings.grad, pyg_embeddings.grad, atol=1e-6, rtol=1e-6)


def test_user_without_clicks_keeps_scaled_embedding() -> None:
    model = BipartiteGNN(num_nodes=8, width=5, layers=2)
    torch.testing.assert_close(model.embed_nodes(EDGES)[3], model.embeddings[3] / 3)


def test_factorization_matches_the_formula() -> None:
    model = MatrixFactorization(num_nodes=8, width=3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_()
    table, bias, shift = (value.detach().numpy() for value in (model.embeddings, model.biases, model.decoder.bias))
    expected = [shift[0] + bias[u, 0] + bias[i, 0] + table[u] @ table[i] for u, i in PAIRS.tolist()]
    np.testing.assert_allclose(model(PAIRS).detach().numpy()[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("node", [8, -1])
def test_unknown_user_or_item_raises(node: int) -> None:
    pairs = torch.tensor([[0, 4], [1, node]])
    for call in (
        lambda: MatrixFactorization(8, 3)(pairs),
        lambda: BipartiteGNN(8, 3, 1)(pairs, EDGES),
    ):
        with pytest.raises(ValueError, match=rf"pair 1 is \[1, {node}\], but nodes are 0\.\.7"):
            call()
    with pytest.raises(ValueError, match=r"nodes are 0\.\.4"):
        BipartiteGNN(5, 3, 1)(pairs[:1], EDGES)
