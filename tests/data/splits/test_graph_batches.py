"""Batches of graphs as disjoint unions, rows with a shared graph, and node splits."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from trainer.core.split import TensorSplit
from trainer.data.splits.graph_batches import GraphsSplit, SplitWithSharedInputs, make_node_splits
from trainer.data.splits.ragged import Ragged
from trainer.engine.dataloader import Loader
from trainer.tasks.regression import Regression
from trainer.utils.errors import DataError

CPU = torch.device("cpu")
EDGES = [[(0, 1), (1, 0)], [], [(0, 2), (2, 1), (1, 1)]]
SIZES = [2, 1, 3]


def make_graphs() -> GraphsSplit:
    """Return a pair, a single node, and a chain with a loop; node k of graph g is [g, k], edge k has the feature k."""
    x = Ragged.from_rows([torch.tensor([[g, k] for k in range(n)]).float() for g, n in enumerate(SIZES)])
    edges = Ragged.from_rows([torch.tensor(pairs).view(-1, 2) for pairs in EDGES])
    attr = Ragged.from_rows([torch.arange(len(pairs)).float()[:, None] for pairs in EDGES])
    return GraphsSplit({"x": x}, edges, {"edge_attr": attr}, torch.tensor([10, 11, 12]))


def test_a_batch_is_the_disjoint_union_of_its_graphs() -> None:
    batch = make_graphs().batch(torch.tensor([2, 1, 0]), 0)
    assert batch.inputs["sizes"].tolist() == [3, 1, 2]
    assert batch.inputs["x"].tolist() == [[2, 0], [2, 1], [2, 2], [1, 0], [0, 0], [0, 1]]
    assert batch.inputs["edge_index"].tolist() == [[0, 2, 1, 4, 5], [2, 1, 1, 5, 4]]
    assert batch.inputs["edge_attr"].flatten().tolist() == [0, 1, 2, 0, 1]
    assert batch.target is not None
    assert batch.target.tolist() == [12, 11, 10]
    assert len(batch) == 3


def test_a_graph_without_nodes_is_refused() -> None:
    empty = Ragged(torch.zeros(2, 1), torch.tensor([2, 0]))
    with pytest.raises(DataError, match="graph 1 has no node"):
        GraphsSplit({"x": empty}, Ragged(torch.zeros(0, 2).long(), torch.tensor([0, 0])), {}, torch.zeros(2))


class Doubling(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def make_split_with_graph() -> tuple[SplitWithSharedInputs, Tensor]:
    graph = torch.tensor([[0], [1]])
    return SplitWithSharedInputs(
        TensorSplit({"x": torch.arange(6.0)[:, None]}, torch.arange(6)), {"edge_index": graph}
    ), graph


@pytest.mark.parametrize("workers", [0, 1])
def test_batches_share_the_same_graph_tensor(workers: int) -> None:
    split, graph = make_split_with_graph()
    loader = Loader(split, "train", batch_size=4, device=CPU, train=True, workers=workers)
    batches = list(loader.iter_epoch(0))
    assert [len(batch) for batch in batches] == [4, 2]
    assert all(batch.inputs["edge_index"] is graph for batch in batches)
    assert sorted(torch.cat([batch.inputs["x"] for batch in batches]).flatten().tolist()) == list(range(6))


def test_shared_graph_is_not_sent_to_workers() -> None:
    split, _ = make_split_with_graph()
    (batch,) = DataLoader([split.batch(torch.arange(2), 0)], batch_size=None)
    assert set(batch.inputs) == {"x"}


def test_a_split_outputs_only_its_own_nodes() -> None:
    inputs = {"x": torch.arange(4.0)[:, None], "edge_index": torch.zeros(2, 0).long()}
    train, test = make_node_splits(inputs, torch.tensor([5, 6, 7, 8]), [torch.tensor([0, 2]), torch.tensor([3])])
    assert train.get_targets().tolist() == [5, 7]
    assert test.get_targets().tolist() == [8]
    task = Regression(Doubling(), loss="mse")
    assert task.forward_batch(train.batch(torch.zeros(1), 0)).flatten().tolist() == [0, 4]
    assert task.forward_batch(test.batch(torch.zeros(1), 0).to(CPU)).flatten().tolist() == [6]
    assert train.full_batch.inputs["x"] is test.full_batch.inputs["x"]
