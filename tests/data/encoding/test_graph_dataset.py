"""Graphs in memory for data sets whose features are used as they are."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainer.data.datasets.graph.edge_signal import EdgeSignal
from trainer.data.datasets.graph.molecules import MoleculeLike
from trainer.data.datasets.graph.sbm import StochasticBlockModel
from trainer.utils.errors import DataError


def test_nodes_of_a_graph_in_memory_are_a_split() -> None:
    data = StochasticBlockModel(nodes=200)
    graph = {name: value.tolist() for name, value in data.test.batch(torch.zeros(1), 0).inputs.items()}
    split = data.encode_rows(graph)
    batch = split.batch(torch.zeros(1), 0)
    assert batch.target is None
    assert batch.output_index is None
    for name, value in batch.inputs.items():
        assert torch.equal(value, data.test.batch(torch.zeros(1), 0).inputs[name])
    assert split.get_output_columns(0) == {"node": range(200)}


def test_several_graphs_in_memory_are_a_split() -> None:
    data = MoleculeLike(rows=20)
    batches = [data.test.batch(torch.tensor([row]), 0) for row in range(2)]
    split = data.encode_rows([batch.inputs for batch in batches])
    joined, expected = (part.batch(torch.arange(2), 0).inputs for part in (split, data.test))
    assert joined.keys() == expected.keys()
    assert all(torch.equal(joined[name], expected[name]) for name in joined)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x": torch.zeros(5, 3)}, r"graph 1: x has the shape \(5, 3\); it must be \(\*, 1\)"),
        ({"edge_attr": None}, "graph 1: edge_attr is missing"),
        ({"edge_attr": torch.zeros(3, 1)}, r"graph 1: edge_attr has \d+ rows instead of|edge_attr has the shape"),
        ({"edge_index": torch.tensor([[0], [10**6]])}, "edge_index has a node outside of|rows instead of 1"),
        ({"edge_index": None}, "graph 1 is a dict without edge_index"),
        ({"edge_index": [0, 1]}, r"graph 1: edge_index has the shape \(2,\); it must be \(2, E\)"),
        ({"edge_index": [[0.5], [1]]}, "graph 1: edge_index has torch.float32 values; it must have whole numbers"),
        ({"edge_index": [[2**70], [1]]}, "graph 1: edge_index is no array of numbers"),
        ({"x": [[1], [1, 2]]}, "graph 1: x is no array of numbers"),
        ({"x": "text"}, "graph 1: x is no array of numbers"),
        ({"x": 5}, r"graph 1: x has the shape \(\)"),
    ],
)
def test_invalid_graphs_are_refused(changes: dict[str, Any], message: str) -> None:
    data = EdgeSignal(nodes=30)
    graph = data.test.batch(torch.zeros(1), 0).inputs | changes
    with pytest.raises(DataError, match=message):
        data.encode_rows({name: value for name, value in graph.items() if value is not None})
    with pytest.raises(DataError, match="2 graphs given; the model predicts the nodes of one"):
        data.encode_rows([data.test.batch(torch.zeros(1), 0).inputs] * 2)
