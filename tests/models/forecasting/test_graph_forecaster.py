"""GCN-LSTM forecasts against a per-step, per-node reference, and series predictable only from neighbors."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.graphs import random_graph
from trainer.models.forecasting.graph_forecaster import GCNLSTM
from trainer.models.layers.graph.graph import Graph

OPTIONS: dict[str, Any] = {
    **{"horizon": 3, "conv": "gcn", "conv_sizes": [4, 5], "hidden_size": 6, "num_layers": 1, "dropout": 0.5},
    **{"normalize": "none"},
}


def make_gcn_lstm(**changes: Any) -> GCNLSTM:
    torch.manual_seed(0)
    return GCNLSTM(**OPTIONS | changes).eval()


def make_inputs() -> dict[str, Tensor]:
    _, edge_index, edge_weight = random_graph()
    return {"x": torch.randn(4, 6, 9), "edge_index": edge_index, "edge_weight": edge_weight}


def reference_forward(model: GCNLSTM, x: Tensor, edge_index: Tensor, edge_weight: Tensor) -> Tensor:
    """Apply the graph convolutions step by step and the LSTM node by node."""
    graph = Graph(x.shape[2], edge_index, edge_weight)
    first, second = model.convs
    out = torch.zeros(len(x), 3, x.shape[2])
    for row, window in enumerate(x):
        maps = torch.stack([F.relu(second(F.relu(first(step[:, None], graph)), graph)) for step in window])
        for node in range(x.shape[2]):
            steps, _ = model.rnn.cells(torch.cat((window[:, node, None], maps[:, node]), 1)[None])
            out[row, :, node] = model.head(steps[0, -1])
    return out


def test_forward_matches_per_step_per_node_reference() -> None:
    model, inputs = make_gcn_lstm(), make_inputs()
    torch.testing.assert_close(model(**inputs), reference_forward(model, **inputs))


@pytest.mark.parametrize("conv", ["sum", "mean", "gcn", "sage", "gin"])
def test_forecast_is_equivariant_to_node_order(conv: str) -> None:
    model, inputs = make_gcn_lstm(conv=conv), make_inputs()
    order = torch.randperm(9)
    permuted = {"x": inputs["x"][..., order], "edge_index": order.argsort()[inputs["edge_index"]]}
    torch.testing.assert_close(model(**inputs | permuted), model(**inputs)[..., order])


@pytest.mark.parametrize("conv_sizes", [[], [4], [4, 4]])
def test_receptive_field_is_number_of_convolutions(conv_sizes: list[int]) -> None:
    model = make_gcn_lstm(conv_sizes=conv_sizes)
    chain = torch.tensor([[0, 1, 2], [1, 2, 3]])
    x = torch.randn(1, 6, 5, requires_grad=True)
    for node in range(5):
        (grad,) = torch.autograd.grad(model(x, chain)[..., node].sum(), x, retain_graph=True)
        receptive_field = set((grad[0] != 0).any(0).nonzero().squeeze(1).tolist())
        assert receptive_field == ({4} if node == 4 else set(range(max(0, node - len(conv_sizes)), node + 1)))


def test_edge_weights_change_forecast_and_negative_ones_raise() -> None:
    model, inputs = make_gcn_lstm(), make_inputs()
    assert not torch.allclose(model(**inputs), model(inputs["x"], inputs["edge_index"]), atol=1e-4)
    inputs["edge_weight"][3] = -0.2
    with pytest.raises(ValueError, match=r"edge 3 has -0\.2"):
        model(**inputs)


@pytest.mark.parametrize(("normalize", "scale"), [("last", 1.0), ("standard", 3.0)])
def test_normalized_forecast_is_shift_and_scale_equivariant(normalize: str, scale: float) -> None:
    model, inputs = make_gcn_lstm(normalize=normalize), make_inputs()
    shifted = inputs | {"x": scale * inputs["x"] + 100.0}
    torch.testing.assert_close(model(**shifted), scale * model(**inputs) + 100, atol=1e-3, rtol=1e-4)


def make_ring_series(rows: int, nodes: int) -> tuple[Tensor, Tensor]:
    """Return windows (rows, 4, nodes) and the next step: each node gets the last value of its predecessor on a ring.

    The initial values are independent noise, so the past of a node itself predicts nothing.
    """
    random = torch.Generator().manual_seed(0)
    steps = [torch.randn(rows, nodes, generator=random)]
    for _ in range(4):
        steps.append(steps[-1].roll(1, 1))
    series = torch.stack(steps, 1)
    return series[:, :-1], series[:, -1:]


@pytest.mark.parametrize(("is_linked", "bounds"), [(True, (0.0, 0.1)), (False, (0.9, 1.5))])
@pytest.mark.slow
def test_neighbor_series_is_learned_only_with_edges(is_linked: bool, bounds: tuple[float, float]) -> None:
    ring = torch.stack((torch.arange(8), torch.arange(8).roll(-1)))
    edges = ring if is_linked else ring[:, :0]
    model = make_gcn_lstm(horizon=1, conv_sizes=[8], hidden_size=16, dropout=0.0)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-2)
    x, y = make_ring_series(200, 8)
    for _ in range(50):
        optimizer.zero_grad()
        F.mse_loss(model(x[:150], edges), y[:150]).backward()
        optimizer.step()
    error = float(F.mse_loss(model(x[150:], edges), y[150:]).detach())
    assert bounds[0] <= error <= bounds[1]
