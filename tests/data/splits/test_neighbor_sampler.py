"""Neighbor sampling: equality with the full batch, unbiased means, and determinism."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tests.helpers.graphs import EVERY, every, random_graph
from trainer.core.batch import Batch
from trainer.core.split import FullBatchSplit
from trainer.data.splits.neighbor_sampler import NeighborSplit
from trainer.engine.dataloader import Loader
from trainer.utils.errors import DataError


def make_split(
    edge_index: Tensor, num_neighbors: list[int], nodes: int = 9, seed: int = 0, **edges: Tensor
) -> NeighborSplit:
    """Return a split in which node k has the features [k, k, ...] and class k; all nodes but 3 are outputs."""
    x = torch.arange(nodes).float()[:, None].expand(-1, 5).contiguous()
    output_index = torch.tensor([node for node in range(nodes) if node != 3])
    return NeighborSplit(
        FullBatchSplit({"x": x, "edge_index": edge_index, **edges}, output_index, output_index), num_neighbors, seed
    )


def edges(batch: Batch) -> list[tuple[int, int]]:
    """Return the edges of a batch in node numbers of the full graph."""
    number = batch.inputs["x"][:, 0].long()
    return sorted(map(tuple, number[batch.inputs["edge_index"]].t().tolist()))  # type: ignore[arg-type]


@every
def test_sampling_all_neighbors_matches_full_batch(make: type[nn.Module]) -> None:
    x, edge_index, weight = random_graph()
    steps, output_index = 4 if make is EVERY["gcn"] else 3, torch.arange(9)
    full_batch_split = FullBatchSplit(
        {"x": x, "edge_index": edge_index, "edge_weight": weight}, output_index, output_index
    )
    split = NeighborSplit(full_batch_split, [9] * steps, 0)
    model, rows = make(), torch.tensor([4, 0, 8])
    batch = split.batch(rows, 0)
    expected = model(x, edge_index, weight)[rows]
    torch.testing.assert_close(model(**batch.inputs)[:3], expected, atol=1e-6, rtol=1e-5)
    sampled_batch = NeighborSplit(full_batch_split, [1, 1, 1], 0).batch(rows, 0)
    assert not torch.allclose(model(**sampled_batch.inputs)[:3], expected)


def test_batch_has_seed_nodes_and_sampled_incoming_edges() -> None:
    chain = torch.tensor([[0, 1, 2, 3, 4], [1, 2, 3, 4, 5]])
    split = make_split(chain, [2, 2], edge_attr=torch.arange(5)[:, None], edge_type=torch.arange(5))
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


def test_node_without_incoming_edges_is_isolated() -> None:
    batch = make_split(torch.tensor([[0], [1]]), [2]).batch(torch.tensor([7]), 0)
    assert batch.inputs["x"][:, 0].tolist() == [8]
    assert batch.inputs["edge_index"].shape == (2, 0)
    assert all(EVERY["sage"]()(**batch.inputs).isfinite().flatten())


def test_neighbors_are_sampled_uniformly_without_replacement() -> None:
    targets, degree, num_samples = 4000, 7, 3
    hub = torch.cartesian_prod(torch.arange(degree), torch.arange(degree, degree + targets)).t()
    split = make_split(hub, [num_samples], nodes=degree + targets)
    edge, target = split.sample_neighbors(torch.arange(degree, degree + targets), num_samples, seed=1)
    assert torch.equal(hub[1, edge], target)
    chosen = torch.zeros(targets, degree).index_put((target - degree, hub[0, edge]), torch.ones(1), accumulate=True)
    assert chosen.max() == 1
    assert chosen.sum(1).unique().tolist() == [num_samples]
    joint_frequencies = chosen.t() @ chosen / targets
    torch.testing.assert_close(
        joint_frequencies.diagonal(), torch.full((degree,), num_samples / degree), atol=0.03, rtol=0
    )
    pairs = joint_frequencies[~torch.eye(degree).bool()]
    torch.testing.assert_close(
        pairs, torch.full_like(pairs, num_samples * (num_samples - 1) / (degree * (degree - 1))), atol=0.03, rtol=0
    )


def test_mean_of_sampled_neighbors_is_unbiased() -> None:
    edge_index = torch.stack((torch.arange(1, 9), torch.zeros(8).long()))
    split = make_split(edge_index, [3])
    means = torch.stack([split.batch(torch.tensor([0]), epoch).inputs["x"][1:, 0].mean() for epoch in range(200)])
    assert float(means.mean()) == pytest.approx(4.5, abs=4 * float(means.std()) / 200**0.5)
    assert len(means.unique()) == 16, "every sum of three of 1 to 8"


def test_sampled_neighbors_depend_on_seed_epoch_and_node_only() -> None:
    _, edge_index, _ = random_graph(9, 60)
    split = make_split(edge_index, [2, 1])
    single, several = split.batch(torch.tensor([4]), 3), split.batch(torch.tensor([4, 6]), 3)
    assert edges(single) == edges(split.batch(torch.tensor([4]), 3))
    assert [pair for pair in edges(several) if pair[1] == 5] == [pair for pair in edges(single) if pair[1] == 5]
    assert len({tuple(edges(split.batch(torch.tensor([4]), epoch))) for epoch in range(8)}) > 1
    assert len({tuple(edges(make_split(edge_index, [2, 1], seed=s).batch(torch.tensor([4]), 3))) for s in range(8)}) > 1


@pytest.mark.parametrize("workers", [1, 2])
def test_results_do_not_depend_on_workers(workers: int) -> None:
    _, edge_index, _ = random_graph(9, 60)
    main_process, with_workers = (
        Loader(
            make_split(edge_index, [2, 1]), "train", batch_size=3, device=torch.device("cpu"), train=True, workers=count
        )
        for count in (0, workers)
    )
    for one, two in zip(main_process.iter_epoch(2), with_workers.iter_epoch(2), strict=True):
        assert torch.equal(one.inputs["x"], two.inputs["x"])
        assert torch.equal(one.inputs["edge_index"], two.inputs["edge_index"])
        assert torch.equal(one.index, two.index)


def test_empty_num_neighbors_raises() -> None:
    with pytest.raises(DataError, match=r"\[\] has no hops; use null for full-batch"):
        make_split(torch.tensor([[0], [1]]), [])
