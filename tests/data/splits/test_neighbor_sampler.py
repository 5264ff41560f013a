"""Batches sampled around nodes: exact where nothing is left out, right on average, the same wherever they are made."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.graphs import EVERY, every, random_graph
from trainer.core.batch import Batch
from trainer.core.dataset import FullBatchSplit
from trainer.data.splits.neighbor_sampler import NeighborSplit
from trainer.engine.dataloader import Loader
from trainer.utils.errors import DataError


def around(edge_index: Tensor, neighbours: list[int], nodes: int = 9, seed: int = 0, **edges: Tensor) -> NeighborSplit:
    """Node k has the features [k, k, ...] and class k; all but node 3 are asked for."""
    x = torch.arange(nodes).float()[:, None].expand(-1, 5).contiguous()
    asked = torch.tensor([node for node in range(nodes) if node != 3])
    return NeighborSplit(FullBatchSplit({"x": x, "edge_index": edge_index, **edges}, asked, asked), neighbours, seed)


def edges(batch: Batch) -> list[tuple[int, int]]:
    """By the numbers nodes have in the whole graph."""
    number = batch.inputs["x"][:, 0].long()
    return sorted(map(tuple, number[batch.inputs["edge_index"]].t().tolist()))  # type: ignore[arg-type]


@every
def test_with_all_neighbors_nodes_get_what_they_get_in_the_whole_graph(make: type[nn.Module]) -> None:
    x, edge_index, weight = random_graph()
    steps, asked = 4 if make is EVERY["gcn"] else 3, torch.arange(9)
    whole = FullBatchSplit({"x": x, "edge_index": edge_index, "edge_weight": weight}, asked, asked)
    split = NeighborSplit(whole, [9] * steps, 0)
    model, rows = make(), torch.tensor([4, 0, 8])
    batch = split.batch(rows, 0)
    expected = model(x, edge_index, weight)[rows]
    torch.testing.assert_close(model(**batch.inputs)[:3], expected, atol=1e-6, rtol=1e-5)
    fewer = NeighborSplit(whole, [1, 1, 1], 0).batch(rows, 0)
    assert not torch.allclose(model(**fewer.inputs)[:3], expected)


def test_a_batch_is_its_nodes_and_the_edges_that_reach_them() -> None:
    chain = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    split = around(chain, [2, 2], edge_attr=torch.arange(5)[:, None], edge_type=torch.arange(5))
    batch = split.batch(torch.tensor([3, 0]), 0)  # nodes 4 and 0
    assert batch.target is not None
    assert batch.output_index is not None
    assert batch.target.tolist() == [4, 0]
    assert batch.output_index.tolist() == [0, 1]
    assert batch.inputs["x"][:, 0].tolist() == [4, 0, 3, 2]
    assert edges(batch) == [(2, 3), (3, 4)]
    assert batch.inputs["edge_type"].tolist() == batch.inputs["edge_attr"].flatten().tolist() == [3, 2]
    assert len(batch) == 2
    assert batch.index.tolist() == [3, 0]


def test_an_unreached_node_is_isolated() -> None:
    batch = around(torch.tensor([[0], [1]]), [2]).batch(torch.tensor([7]), 0)
    assert batch.inputs["x"][:, 0].tolist() == [8]
    assert batch.inputs["edge_index"].shape == (2, 0)
    assert all(EVERY["sage"]()(**batch.inputs).isfinite().flatten())


def test_every_choice_is_as_likely_and_holds_no_neighbor_twice() -> None:
    targets, near, most = 4000, 7, 3
    hub = torch.cartesian_prod(torch.arange(near), torch.arange(near, near + targets)).t()
    split = around(hub, [most], nodes=near + targets)
    edge, target = split.sample_neighbors(torch.arange(near, near + targets), most, seed=1)
    assert torch.equal(hub[1, edge], target)
    chosen = torch.zeros(targets, near).index_put((target - near, hub[0, edge]), torch.ones(1), accumulate=True)
    assert chosen.max() == 1
    assert chosen.sum(1).unique().tolist() == [most]
    together = chosen.t() @ chosen / targets
    torch.testing.assert_close(together.diagonal(), torch.full((near,), most / near), atol=0.03, rtol=0)
    pairs = together[~torch.eye(near).bool()]
    torch.testing.assert_close(
        pairs, torch.full_like(pairs, most * (most - 1) / (near * (near - 1))), atol=0.03, rtol=0
    )


def test_the_mean_of_a_sample_is_right_on_average() -> None:
    edge_index = torch.stack((torch.arange(1, 9), torch.zeros(8).long()))
    split = around(edge_index, [3])
    means = torch.stack([split.batch(torch.tensor([0]), epoch).inputs["x"][1:, 0].mean() for epoch in range(200)])
    assert float(means.mean()) == pytest.approx(4.5, abs=4 * float(means.std()) / 200**0.5)
    assert len(means.unique()) == 16, "every sum of three of 1 to 8"


def test_what_a_node_draws_depends_on_seed_epoch_and_itself_alone() -> None:
    _, edge_index, _ = random_graph(9, 60)
    split = around(edge_index, [2, 1])
    alone, among = split.batch(torch.tensor([4]), 3), split.batch(torch.tensor([4, 6]), 3)
    assert edges(alone) == edges(split.batch(torch.tensor([4]), 3))
    assert [pair for pair in edges(among) if pair[1] == 5] == [pair for pair in edges(alone) if pair[1] == 5]
    assert len({tuple(edges(split.batch(torch.tensor([4]), epoch))) for epoch in range(8)}) > 1
    assert len({tuple(edges(around(edge_index, [2, 1], seed=s).batch(torch.tensor([4]), 3))) for s in range(8)}) > 1


@pytest.mark.parametrize("workers", [1, 2])
def test_results_do_not_depend_on_workers(workers: int) -> None:
    _, edge_index, _ = random_graph(9, 60)
    here, there = (
        Loader(around(edge_index, [2, 1]), "train", batch_size=3, device=torch.device("cpu"), train=True, workers=count)
        for count in (0, workers)
    )
    for one, two in zip(here.iter_epoch(2), there.iter_epoch(2), strict=True):
        assert torch.equal(one.inputs["x"], two.inputs["x"])
        assert torch.equal(one.inputs["edge_index"], two.inputs["edge_index"])
        assert torch.equal(one.index, two.index)


def test_no_step_is_refused() -> None:
    with pytest.raises(DataError, match=r"\[\] has no hops; use null for full-batch"):
        around(torch.tensor([[0], [1]]), [])
