"""Recommendation against plain numpy and against PyG."""

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


def numpy_nodes(embeddings: Tensor, layers: int) -> np.ndarray:
    """LightGCN edge by edge."""
    reached = embeddings.detach().double().numpy()
    degree = np.bincount(EDGES[1].numpy(), minlength=len(reached))
    total = reached.copy()
    for _ in range(layers):
        sent = np.zeros_like(reached)
        for source, target in EDGES.t().tolist():
            sent[target] += reached[source] / np.sqrt(degree[source] * degree[target])
        reached = sent
        total += reached
    return total / (layers + 1)


@pytest.mark.parametrize("layers", [0, 1, 3])
def test_propagation_matches_the_formula(layers: int) -> None:
    model = BipartiteGNN(num_nodes=8, width=5, layers=layers)
    expected = numpy_nodes(model.embeddings, layers)
    np.testing.assert_allclose(model.embed_nodes(EDGES).detach().numpy(), expected, atol=1e-6)
    scores = (expected[PAIRS[:, 0]] * expected[PAIRS[:, 1]]).sum(1)
    np.testing.assert_allclose(model(PAIRS, EDGES).detach().numpy()[:, 0], scores, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
def test_propagation_and_its_gradient_equal_pyg() -> None:
    from torch_geometric.nn import LGConv

    model, conv = BipartiteGNN(num_nodes=8, width=5, layers=2), LGConv()
    theirs = model.embeddings.detach().clone().requires_grad_()
    first = conv(theirs, EDGES)
    expected = (theirs + first + conv(first, EDGES)) / 3
    found = model.embed_nodes(EDGES)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)
    pull = torch.randn_like(found)
    found.backward(pull)
    expected.backward(pull)
    torch.testing.assert_close(model.embeddings.grad, theirs.grad, atol=1e-6, rtol=1e-6)


def test_users_without_clicks_keep_a_share_of_their_embedding() -> None:
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


@pytest.mark.parametrize("wrong", [8, -1])
def test_a_user_or_an_item_that_is_not_there_is_refused(wrong: int) -> None:
    pairs = torch.tensor([[0, 4], [1, wrong]])
    for call in (
        lambda: MatrixFactorization(8, 3)(pairs),
        lambda: BipartiteGNN(8, 3, 1)(pairs, EDGES),
    ):
        with pytest.raises(ValueError, match=rf"pair 1 is \[1, {wrong}\], but nodes are 0\.\.7"):
            call()
    with pytest.raises(ValueError, match=r"nodes are 0\.\.4"):
        BipartiteGNN(5, 3, 1)(pairs[:1], EDGES)
