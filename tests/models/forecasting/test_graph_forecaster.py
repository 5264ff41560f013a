"""Forecasts on a graph against one step and one node at a time, and series that only their neighbours foretell."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.graphs import random_graph
from trainer.models.forecasting.graph_forecaster import GCNLSTM
from trainer.models.layers.graph.graph import Graph

PLAIN: dict[str, Any] = {
    **{"horizon": 3, "conv": "gcn", "conv_sizes": [4, 5], "hidden_size": 6, "num_layers": 1, "dropout": 0.5},
    **{"normalize": "none"},
}


def gcn_lstm(**changes: Any) -> GCNLSTM:
    torch.manual_seed(0)
    return GCNLSTM(**PLAIN | changes).eval()


def windows() -> dict[str, Tensor]:
    _, edge_index, edge_weight = random_graph()
    return {"x": torch.randn(4, 6, 9), "edge_index": edge_index, "edge_weight": edge_weight}


def one_by_one(model: GCNLSTM, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
    """Each step through the layers on its own graph, each node of each row through the LSTM by itself."""
    graph = Graph(x.shape[2], edge_index, edge_weight)
    first, second = model.convs
    out = torch.zeros(len(x), 3, x.shape[2])
    for row, window in enumerate(x):
        maps = torch.stack([F.relu(second(F.relu(first(step[:, None], graph)), graph)) for step in window])
        for node in range(x.shape[2]):
            steps, _ = model.rnn.cells(torch.cat((window[:, node, None], maps[:, node]), 1)[None])
            out[row, :, node] = model.head(steps[0, -1])
    return out


def test_it_equals_the_layers_on_one_step_and_one_node_at_a_time() -> None:
    model, given = gcn_lstm(), windows()
    torch.testing.assert_close(model(**given), one_by_one(model, **given))


@pytest.mark.parametrize("conv", ["sum", "mean", "gcn", "sage", "gin"])
def test_the_order_of_nodes_is_that_of_the_forecasts(conv: str) -> None:
    model, given = gcn_lstm(conv=conv), windows()
    order = torch.randperm(9)
    moved = {"x": given["x"][..., order], "edge_index": order.argsort()[given["edge_index"]]}
    torch.testing.assert_close(model(**given | moved), model(**given)[..., order])


@pytest.mark.parametrize("conv_sizes", [[], [4], [4, 4]])
def test_what_is_n_edges_away_is_seen_after_n_convolutions_and_not_before(conv_sizes: list[int]) -> None:
    model = gcn_lstm(conv_sizes=conv_sizes)
    chain = torch.tensor([[0, 1, 2], [1, 2, 3]])
    x = torch.randn(1, 6, 5, requires_grad=True)
    for node in range(5):
        (grad,) = torch.autograd.grad(model(x, chain)[..., node].sum(), x, retain_graph=True)
        seen = set((grad[0] != 0).any(0).nonzero().squeeze(1).tolist())
        assert seen == ({4} if node == 4 else set(range(max(0, node - len(conv_sizes)), node + 1)))


def test_weights_count_and_are_not_negative() -> None:
    model, given = gcn_lstm(), windows()
    assert not torch.allclose(model(**given), model(given["x"], given["edge_index"]), atol=1e-4)
    given["edge_weight"][3] = -0.2
    with pytest.raises(ValueError, match=r"edge 3 has -0\.2"):
        model(**given)


@pytest.mark.parametrize(("normalize", "scale"), [("last", 1.0), ("standard", 3.0)])
def test_the_level_of_a_window_comes_back_in_the_forecast(normalize: str, scale: float) -> None:
    model, given = gcn_lstm(normalize=normalize), windows()
    lifted = given | {"x": scale * given["x"] + 100.0}
    torch.testing.assert_close(model(**lifted), scale * model(**given) + 100, atol=1e-3, rtol=1e-4)


def handed_on(rows: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Windows (rows, 4, nodes) and the next step, in which each node has what the one before it on a ring had last.

    All of it is independent noise to begin with, so nothing a node has had itself tells what it will have.
    """
    random = torch.Generator().manual_seed(0)
    steps = [torch.randn(rows, nodes, generator=random)]
    for _ in range(4):
        steps.append(steps[-1].roll(1, 1))
    series = torch.stack(steps, 1)
    return series[:, :-1], series[:, -1:]


@pytest.mark.parametrize(("is_linked", "bounds"), [(True, (0.0, 0.1)), (False, (0.9, 1.5))])
@pytest.mark.slow
def test_a_neighbors_past_is_learned_along_edges_and_not_without(is_linked: bool, bounds: tuple[float, float]) -> None:
    ring = torch.stack((torch.arange(8), torch.arange(8).roll(-1)))
    edges = ring if is_linked else ring[:, :0]
    model = gcn_lstm(horizon=1, conv_sizes=[8], hidden_size=16, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    x, y = handed_on(200, 8)
    for _ in range(50):
        optimizer.zero_grad()
        F.mse_loss(model(x[:150], edges), y[:150]).backward()
        optimizer.step()
    error = float(F.mse_loss(model(x[150:], edges), y[150:]).detach())
    assert bounds[0] <= error <= bounds[1]
