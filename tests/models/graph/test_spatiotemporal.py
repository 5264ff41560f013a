"""Spatiotemporal graph network against one graph at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.helpers.graphs import random_graph
from tests.helpers.lab import lab
from trainer.data.splits.graph_batches import SplitWithSharedInputs
from trainer.models.graph.spatiotemporal import SpatiotemporalGNN
from trainer.models.layers.graph.graph import Graph

OPTIONS: dict[str, Any] = {
    **{"in_features": 5, "out_features": 3, "conv_size": 4, "attention_size": 3, "heads": 2, "attention_dropout": 0.5},
    **{"negative_slope": 0.2, "pool": "mean", "hidden_size": 6, "num_layers": 2, "head_size": 7, "dropout": 0.5},
}
LENGTHS = torch.tensor([7, 4, 1])


def make_model(**changes: Any) -> SpatiotemporalGNN:
    torch.manual_seed(0)
    return SpatiotemporalGNN(**OPTIONS | changes).eval()


def make_inputs() -> dict[str, Tensor]:
    _, edge_index, edge_weight = random_graph()
    x = torch.randn(3, 7, 9, 5)
    return {"x": x, "edge_index": edge_index, "edge_weight": edge_weight, "lengths": LENGTHS}


def reference_forward(
    model: SpatiotemporalGNN, x: Tensor, edge_index: Tensor, edge_weight: Tensor, lengths: Tensor
) -> Tensor:
    """Apply the graph layers step by step and the LSTM row by row."""
    graph = Graph(x.shape[2], edge_index, edge_weight)
    rows = []
    for row, length in zip(x, lengths.tolist(), strict=True):
        maps = [F.relu(model.attention(F.relu(model.conv(moment, graph)), graph)) for moment in row[:length]]
        steps, _ = model.rnn.cells(torch.stack([nodes.mean(0) for nodes in maps])[None])
        rows.append(model.head(steps[0, -1]))
    return torch.stack(rows)


def test_forward_matches_per_graph_per_row_reference() -> None:
    model, inputs = make_model(), make_inputs()
    torch.testing.assert_close(model(**inputs), reference_forward(model, **inputs))


def test_missing_lengths_read_every_step() -> None:
    model, inputs = make_model(), make_inputs()
    full_lengths = inputs | {"lengths": torch.full((3,), 7)}
    del inputs["lengths"]
    torch.testing.assert_close(model(**inputs), reference_forward(model, **full_lengths))


def test_parameter_count_matches_layer_sizes() -> None:
    model = make_model(
        in_features=3, out_features=1, conv_size=16, attention_size=16, heads=1, hidden_size=32, head_size=32
    )
    convolution, attention = 3 * 16 + 16, 16 * 16 + 3 * 16
    cells = 4 * 32 * (16 + 32 + 2) + 4 * 32 * (32 + 32 + 2)
    assert sum(p.numel() for p in model.parameters()) == convolution + attention + cells + 33 * 32 + 33


@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_padding_is_neither_computed_nor_used(pool: str) -> None:
    model, inputs = make_model(pool=pool), make_inputs()
    inputs["x"].requires_grad_()
    row_counts: list[int] = []
    model.conv.register_forward_hook(lambda _, inputs, __: row_counts.append(len(inputs[0])))
    out = model(**inputs)
    assert row_counts == [9 * int(LENGTHS.sum())]
    padding = torch.arange(7) >= LENGTHS[:, None]
    garbage = inputs["x"].detach().masked_fill(padding[..., None, None], torch.nan)
    assert torch.equal(model(**inputs | {"x": garbage}), out)
    (grad,) = torch.autograd.grad(out.sum(), inputs["x"])
    assert (grad[padding] == 0).all()
    assert (grad[~padding].flatten(1) != 0).any(1).all(), "every real step of every row is read"


@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_output_is_invariant_to_node_order(pool: str) -> None:
    model, inputs = make_model(pool=pool), make_inputs()
    order = torch.randperm(9)
    permuted_edges = order.argsort()[inputs["edge_index"]]
    changed = model(**inputs | {"x": inputs["x"][:, :, order], "edge_index": permuted_edges})
    torch.testing.assert_close(changed, model(**inputs))


def test_output_depends_on_step_order() -> None:
    model, inputs = make_model(), make_inputs()
    reversed_x = inputs["x"].flip(1)
    assert not torch.allclose(model(**inputs | {"x": reversed_x})[0], model(**inputs)[0], atol=1e-5)


def test_edge_weights_are_used_and_zero_removes_edge() -> None:
    model, inputs = make_model(), make_inputs()
    graphs = [Graph(9, inputs["edge_index"], weight) for weight in (inputs["edge_weight"], None)]
    for layer, nodes in ((model.conv, torch.randn(9, 5)), (model.attention, torch.randn(9, 4))):
        weighted, unweighted = (layer(nodes, graph) for graph in graphs)
        assert not torch.allclose(weighted, unweighted, atol=1e-3)
    source, target = inputs["edge_index"]
    absent = (torch.arange(len(source)) % 2 == 0) & (source != target)
    zeroed = {"edge_weight": inputs["edge_weight"].masked_fill(absent, 0)}
    removed = {"edge_index": inputs["edge_index"][:, ~absent], "edge_weight": inputs["edge_weight"][~absent]}
    torch.testing.assert_close(model(**inputs | zeroed), model(**inputs | removed))


def test_negative_edge_weight_raises() -> None:
    inputs = make_inputs()
    inputs["edge_weight"][3] = -0.2
    with pytest.raises(ValueError, match=r"edge_weight: weights must be finite and >= 0; edge 3 has -0\.2"):
        make_model()(**inputs)


def identity(series: Tensor) -> Tensor:
    return series


def average_over_time(series: Tensor) -> Tensor:
    """Replace the signal of every step by its mean over time."""
    return torch.cat((series[..., :1].mean(0).expand(len(series), -1, 1), series[..., 1:]), -1)


def drop_roles(series: Tensor) -> Tensor:
    return torch.cat((series[..., :1], torch.zeros_like(series[..., 1:])), -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "bounds"), [(identity, (0.9, 1.0)), (average_over_time, (0.3, 0.7)), (drop_roles, (0.3, 0.7))]
)
def test_classifies_first_active_network(change: Callable[[Tensor], Tensor], bounds: tuple[float, float]) -> None:
    small = ("data.parcels=30", "data.members=8", "data.top_k=4", "data.noise=0.5", "epochs=20", "optimizer.lr=1e-2")
    run = lab("model=brain", "data=simulated_bold", *small)
    for split in (run.data.train, run.data.val, run.data.test):
        assert isinstance(split, SplitWithSharedInputs)
        x = split.rows.inputs["x"]  # type: ignore[attr-defined]
        x.values.copy_(torch.cat([change(part) for part in x.values.split(x.lengths.tolist())]))
    assert bounds[0] <= run.test()["accuracy"] <= bounds[1]
