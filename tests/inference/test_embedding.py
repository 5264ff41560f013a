"""Embeddings: one vector for each row, or a refusal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from trainer.inference.embedding import HeadInput
from trainer.utils.errors import ConfigError


class OwnLayer(nn.Module):
    """Layer that is none of torch's."""

    def __init__(self, width: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


@pytest.fixture(name="steps")
def steps_fixture() -> Tensor:
    return torch.arange(24.0).view(2, 3, 4)


def read_features(model: nn.Module, x: Tensor, rows: int, *, needs_vectors: bool) -> Tensor:
    with HeadInput(model) as head, torch.no_grad():
        model(x)
        return head.get_features(rows, needs_vectors=needs_vectors)


def test_steps_are_one_vector_only_where_rows_have_equally_many(steps: Tensor) -> None:
    model = nn.Linear(4, 1)
    assert torch.equal(read_features(model, steps, 2, needs_vectors=False), steps.view(2, 12))
    with pytest.raises(ConfigError, match=r"the last layer reads \(2, 3, 4\), not features of 2 rows"):
        read_features(model, steps, 2, needs_vectors=True)
    assert torch.equal(read_features(model, steps[:, 0], 2, needs_vectors=True), steps[:, 0])


def test_nodes_of_a_shared_graph_are_no_parts_of_rows(steps: Tensor) -> None:
    nodes = steps.view(6, 4)
    with pytest.raises(ConfigError, match=r"reads \(6, 4\), not features of 2 rows"):
        read_features(nn.Linear(4, 1), nodes, 2, needs_vectors=True)


def test_own_layers_count_if_there_are_no_others(steps: Tensor) -> None:
    rows = steps[:, 0]
    assert torch.equal(read_features(nn.Sequential(OwnLayer(4), OwnLayer(4)), rows, 2, needs_vectors=True), rows)
    mixed = nn.Sequential(nn.Linear(4, 3), OwnLayer(3))
    assert read_features(mixed, rows, 2, needs_vectors=True).shape == (2, 4)
    with pytest.raises(ConfigError, match="no layer with weights"):
        read_features(nn.ReLU(), rows, 2, needs_vectors=True)
