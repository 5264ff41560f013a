"""Graphs in memory, such as those of a request, as tables."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding import graph_objects
from trainer.utils.errors import DataError


def make_fitted(*titles: str) -> Preprocessing:
    columns = [{"name": title} for title in titles]
    return Preprocessing({"nodes": {"names": ["id", *titles], "columns": columns}, "edges": {"columns": []}})


GRAPH = {"x": [[1, 2], [3, 4]], "edge_index": [[0], [1]]}


def test_arrays_and_lists_are_the_same_table() -> None:
    fitted = make_fitted("a", "b")
    tables = graph_objects.make_tables(GRAPH, fitted)
    assert tables["nodes.csv"].columns == [("0", "1"), ("1", "3"), ("2", "4")]
    tensors = {name: torch.tensor(value) for name, value in GRAPH.items()}
    assert graph_objects.make_tables(tensors, fitted)["nodes.csv"].columns == tables["nodes.csv"].columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"edge_index": [0, 1]}, "graph 1: edge_index has 0 in the place of a list"),
        ({"edge_index": [[0.5], [1]]}, "graph 1: edge_index has 0.5; it must have whole numbers"),
        ({"edge_index": [["a"], [1]]}, "graph 1: edge_index has 'a'; it must have whole numbers"),
        ({"edge_index": [[2**70], [1]]}, "graph 1: edge_index has 1180591620717411303424"),
        ({"edge_index": [[-1], [1]]}, r"edge_index has a node outside of 0\.\.1"),
        ({"x": 5}, "graph 1: x has 5 in the place of a list"),
        ({"x": [5, 6]}, "graph 1: x has 5 in the place of a list"),
        ({"x": [[1, 2], [3]]}, "graph 1: x has 1 columns instead of 2: a, b"),
        ({"x": [[1, 2]], "a": 3}, "graph 1: a has 3 in the place of a list"),
    ],
)
def test_invalid_graphs_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        graph_objects.make_tables(GRAPH | changes, make_fitted("a", "b"))


def test_graph_without_features_has_a_limited_number_of_nodes() -> None:
    graph = {"num_nodes": 3, "edge_index": [[0], [1]]}
    assert len(graph_objects.make_tables(graph, make_fitted())["nodes.csv"]) == 3
    with pytest.raises(DataError, match="num_nodes has 1000000000; it must have whole numbers to 100,000,000"):
        graph_objects.make_tables(graph | {"num_nodes": 10**9}, make_fitted())
