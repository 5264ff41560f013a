"""Graphs over time against one graph at a time, and against what the source got wrong."""

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

PLAIN: dict[str, Any] = {
    **{"in_features": 5, "out_features": 3, "conv_size": 4, "attention_size": 3, "heads": 2, "attention_dropout": 0.5},
    **{"negative_slope": 0.2, "pool": "mean", "hidden_size": 6, "num_layers": 2, "head_size": 7, "dropout": 0.5},
}
LENGTHS = torch.tensor([7, 4, 1])


def brain(**changes: Any) -> SpatiotemporalGNN:
    torch.manual_seed(0)
    return SpatiotemporalGNN(**PLAIN | changes).eval()


def runs() -> dict[str, Tensor]:
    _, edge_index, edge_weight = random_graph()
    x = torch.randn(3, 7, 9, 5)
    return {"x": x, "edge_index": edge_index, "edge_weight": edge_weight, "lengths": LENGTHS}


def one_by_one(model: SpatiotemporalGNN, x: Tensor, edge_index: Tensor, edge_weight: Tensor, lengths: Tensor) -> Tensor:
    """Each moment through the layers on its own graph, each row through the LSTMs by itself."""
    graph = Graph(x.shape[2], edge_index, edge_weight)
    rows = []
    for row, length in zip(x, lengths.tolist(), strict=True):
        maps = [F.relu(model.attention(F.relu(model.conv(moment, graph)), graph)) for moment in row[:length]]
        steps, _ = model.rnn.cells(torch.stack([nodes.mean(0) for nodes in maps])[None])
        rows.append(model.head(steps[0, -1]))
    return torch.stack(rows)


def test_it_equals_the_layers_on_one_graph_and_one_row_at_a_time() -> None:
    model, given = brain(), runs()
    torch.testing.assert_close(model(**given), one_by_one(model, **given))


def test_without_lengths_every_step_is_read() -> None:
    model, given = brain(), runs()
    whole = given | {"lengths": torch.full((3,), 7)}
    del given["lengths"]
    torch.testing.assert_close(model(**given), one_by_one(model, **whole))


def test_the_default_has_the_layers_of_the_source() -> None:
    model = brain(in_features=3, out_features=1, conv_size=16, attention_size=16, heads=1, hidden_size=32, head_size=32)
    convolution, attention = 3 * 16 + 16, 16 * 16 + 3 * 16
    cells = 4 * 32 * (16 + 32 + 2) + 4 * 32 * (32 + 32 + 2)
    assert sum(p.numel() for p in model.parameters()) == convolution + attention + cells + 33 * 32 + 33


@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_padding_changes_nothing_and_costs_nothing(pool: str) -> None:
    model, given = brain(pool=pool), runs()
    given["x"].requires_grad_()
    seen: list[int] = []
    model.conv.register_forward_hook(lambda _, inputs, __: seen.append(len(inputs[0])))
    out = model(**given)
    assert seen == [9 * int(LENGTHS.sum())]
    padding = torch.arange(7) >= LENGTHS[:, None]
    garbage = given["x"].detach().masked_fill(padding[..., None, None], torch.nan)
    assert torch.equal(model(**given | {"x": garbage}), out)
    (grad,) = torch.autograd.grad(out.sum(), given["x"])
    assert (grad[padding] == 0).all()
    assert (grad[~padding].flatten(1) != 0).any(1).all(), "every real step of every row is read"


@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_the_order_of_nodes_does_not_matter(pool: str) -> None:
    model, given = brain(pool=pool), runs()
    order = torch.randperm(9)
    renamed = order.argsort()[given["edge_index"]]
    changed = model(**given | {"x": given["x"][:, :, order], "edge_index": renamed})
    torch.testing.assert_close(changed, model(**given))


def test_the_order_of_steps_matters() -> None:
    model, given = brain(), runs()
    turned = given["x"].flip(1)
    assert not torch.allclose(model(**given | {"x": turned})[0], model(**given)[0], atol=1e-5)


def test_both_layers_weigh_edges_and_weight_zero_is_no_edge() -> None:
    model, given = brain(), runs()
    graphs = [Graph(9, given["edge_index"], weight) for weight in (given["edge_weight"], None)]
    for layer, nodes in ((model.conv, torch.randn(9, 5)), (model.attention, torch.randn(9, 4))):
        weighed, counted = (layer(nodes, graph) for graph in graphs)
        assert not torch.allclose(weighed, counted, atol=1e-3)
    source, target = given["edge_index"]
    absent = (torch.arange(len(source)) % 2 == 0) & (source != target)
    light = {"edge_weight": given["edge_weight"].masked_fill(absent, 0)}
    fewer = {"edge_index": given["edge_index"][:, ~absent], "edge_weight": given["edge_weight"][~absent]}
    torch.testing.assert_close(model(**given | light), model(**given | fewer))


def test_a_signed_correlation_is_refused() -> None:
    given = runs()
    given["edge_weight"][3] = -0.2
    with pytest.raises(ValueError, match=r"edge_weight: weights must be finite and >= 0; edge 3 has -0\.2"):
        brain()(**given)


def unchanged(run: Tensor) -> Tensor:
    return run


def averaged(run: Tensor) -> Tensor:
    """Every step as the mean over time."""
    return torch.cat((run[..., :1].mean(0).expand(len(run), -1, 1), run[..., 1:]), -1)


def without_roles(run: Tensor) -> Tensor:
    return torch.cat((run[..., :1], torch.zeros_like(run[..., 1:])), -1)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "bounds"), [(unchanged, (0.9, 1.0)), (averaged, (0.3, 0.7)), (without_roles, (0.3, 0.7))]
)
def test_it_classifies_which_network_is_active_first(
    change: Callable[[Tensor], Tensor], bounds: tuple[float, float]
) -> None:
    small = ("data.parcels=30", "data.members=8", "data.top_k=4", "data.noise=0.5", "epochs=20", "optimizer.lr=1e-2")
    run = lab("model=brain", "data=simulated_bold", *small)
    for split in (run.data.train, run.data.val, run.data.test):
        assert isinstance(split, SplitWithSharedInputs)
        x = split.rows.inputs["x"]  # type: ignore[attr-defined]
        x.values.copy_(torch.cat([change(part) for part in x.values.split(x.lengths.tolist())]))
    assert bounds[0] <= run.test()["accuracy"] <= bounds[1]
