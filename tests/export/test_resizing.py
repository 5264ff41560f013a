from __future__ import annotations

import torch
from torch import Tensor

from trainer.export.resizing import resize

NODES = {"x": ("N", "F"), "edge_index": ("2", "E"), "edge_weight": ("E",), "pairs": ("P", "2")}
TRIANGLE_AND_LEAF = {
    "x": torch.arange(4.0)[:, None],
    "edge_index": torch.tensor([[0, 1, 2, 2], [1, 2, 0, 3]]),
    "edge_weight": torch.tensor([1.0, 2.0, 3.0, 4.0]),
    "pairs": torch.tensor([[0, 3], [1, 2]]),
}


def list_edges(inputs: dict[str, Tensor]) -> list[tuple[int, int, float]]:
    source, target = inputs["edge_index"].tolist()
    return list(zip(source, target, inputs["edge_weight"].tolist(), strict=True))


def test_rows_repeat_from_the_start_and_steps_clamp_lengths() -> None:
    dims = {"x": ("B", "T", "F"), "lengths": ("B",)}
    inputs = {"x": torch.arange(12.0).view(2, 3, 2), "lengths": torch.tensor([3, 1])}
    rows = resize(inputs, dims, "B", 5)
    assert rows["lengths"].tolist() == [3, 1, 3, 1, 3]
    assert torch.equal(rows["x"][4], inputs["x"][0])
    shorter = resize(inputs, dims, "T", 2)
    assert torch.equal(shorter["x"], inputs["x"][:, :2])
    assert shorter["lengths"].tolist() == [2, 1], "no length exceeds the steps"
    assert resize(inputs, dims, "T", 4)["lengths"].tolist() == [3, 1]


def test_fewer_nodes_keep_the_edges_between_them() -> None:
    smaller = resize(TRIANGLE_AND_LEAF, NODES, "N", 3)
    assert smaller["x"].flatten().tolist() == [0, 1, 2]
    assert list_edges(smaller) == [(0, 1, 1.0), (1, 2, 2.0), (2, 0, 3.0)]
    assert smaller["pairs"].tolist() == [[0, 0], [1, 2]], "pairs stay within the nodes"


def test_more_nodes_are_disjoint_copies() -> None:
    larger = resize(TRIANGLE_AND_LEAF, NODES, "N", 7)
    assert larger["x"].flatten().tolist() == [0, 1, 2, 3, 0, 1, 2]
    copied = [(4, 5, 1.0), (5, 6, 2.0), (6, 4, 3.0)]
    assert sorted(list_edges(larger)) == sorted(list_edges(TRIANGLE_AND_LEAF) + copied)


def test_graphs_bring_their_nodes_and_edges() -> None:
    dims = {"x": ("N", "F"), "edge_index": ("2", "E"), "edge_weight": ("E",), "sizes": ("G",)}
    inputs = {
        "x": torch.arange(5.0)[:, None],
        "edge_index": torch.tensor([[0, 1, 2, 4], [1, 0, 3, 3]]),
        "edge_weight": torch.arange(4.0),
        "sizes": torch.tensor([2, 3]),
    }
    resized = resize(inputs, dims, "G", 3)
    assert resized["sizes"].tolist() == [2, 3, 2]
    assert resized["x"].flatten().tolist() == [0, 1, 2, 3, 4, 0, 1]
    assert list_edges(resized) == [(0, 1, 0.0), (1, 0, 1.0), (2, 3, 2.0), (4, 3, 3.0), (5, 6, 0.0), (6, 5, 1.0)]


def test_edges_alone_are_cut_where_nodes_are_parameters() -> None:
    inputs = {"pairs": torch.tensor([[0, 3]]), "edge_index": TRIANGLE_AND_LEAF["edge_index"]}
    resized = resize(inputs, NODES, "E", 2)
    assert resized["edge_index"].tolist() == [[0, 1], [1, 2]]
    assert resized["pairs"].tolist() == [[0, 3]]
