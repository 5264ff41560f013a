from __future__ import annotations

import torch

from trainer.export.input_dims import find_batch_dim, find_input_dims, find_sizes

DATA = "x (B, T, F), lengths (B) -> (B)"


def test_dims_of_the_model_come_before_those_of_the_data() -> None:
    inputs = {"x": torch.zeros(2, 3, 4), "lengths": torch.ones(2)}
    assert find_input_dims(inputs, "x (B, ...) -> (B, C)", DATA) == {"x": ("B", "T", "F"), "lengths": ("B",)}
    assert find_input_dims(inputs, "x (B, H, W) -> (B, C)", DATA)["x"] == ("B", "H", "W")
    assert find_input_dims({"y": torch.zeros(2, 3)}, DATA) == {"y": ("B", "")}, "the rows of an unknown input"


def test_wrong_number_of_dims_is_not_taken() -> None:
    assert find_input_dims({"x": torch.zeros(2, 3)}, DATA)["x"] == ("B", "")


def test_alternatives_differ_in_their_number_of_dims() -> None:
    line = "x (B, S), lengths (B) -> (B, C) or x (B, C, H, W) -> (B, C)"
    assert find_input_dims({"x": torch.zeros(2, 3, 8, 8)}, line) == {"x": ("B", "C", "H", "W")}
    assert find_input_dims({"x": torch.zeros(2, 9)}, line) == {"x": ("B", "S")}


def test_p_counts_pairs_at_the_front_and_steps_elsewhere() -> None:
    pairs = {"pairs": torch.zeros(5, 2), "times": torch.zeros(3, 7)}
    dims = find_input_dims(pairs, "pairs (P, 2), times (B, P) -> (P, C)")
    assert dims == {"pairs": ("P", "2"), "times": ("B", "T")}
    assert find_sizes(pairs, dims) == {"P": 5, "B": 3, "T": 7}


def test_batch_dim_is_the_first_of_the_output_that_an_input_has() -> None:
    dims = {"x": ("N", "F"), "edge_index": ("2", "E"), "sizes": ("G",)}
    assert find_batch_dim(dims, "x (N, F), edge_index (2, E), sizes (G) -> (G, C)") == "G"
    assert find_batch_dim(dims, "x (N, F), edge_index (2, E) -> (N, C)") == "N"
    assert find_batch_dim({"noise": ("B", "Z")}, "x (N, F) -> (N, C)") == "B"
