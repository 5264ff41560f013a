"""Zachary's karate club."""

from __future__ import annotations

import pytest
import torch

from tests.helpers.lab import lab
from trainer.data.datasets.graph.karate import Karate
from trainer.utils.errors import DataError


@pytest.mark.slow
def test_karate_club_matches_the_publication() -> None:
    data = Karate(val_nodes=10, seed=0)
    source, target = data.train.full_batch.inputs["edge_index"]
    assert torch.equal(data.train.full_batch.inputs["x"], torch.eye(34))
    assert len(source) == 2 * 78
    assert set(zip(source.tolist(), target.tolist(), strict=True)) == set(
        zip(target.tolist(), source.tolist(), strict=True)
    )
    output_indices = [part.full_batch.output_index for part in (data.train, data.val, data.test)]
    assert list(map(len, output_indices)) == [4, 10, 20]
    assert torch.cat(output_indices).sort().values.tolist() == list(range(34))
    assert data.train.full_batch.target.sort().values.tolist() == [0, 1, 2, 3]
    with pytest.raises(DataError, match="30 of the 30 members"):
        Karate(val_nodes=30, seed=0)


@pytest.mark.slow
def test_edges_predict_the_community_and_node_ids_do_not() -> None:
    assert lab("model=gcn", "data=karate").test()["accuracy"] >= 0.6
    assert lab("model=mlp", "data=karate").test()["accuracy"] <= 0.45
