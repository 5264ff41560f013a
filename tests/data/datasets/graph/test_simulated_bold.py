"""Simulated BOLD: onsets, classes, node roles, best possible accuracy and invalid options."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from trainer.data.datasets.graph.simulated_bold import HEMODYNAMIC_RESPONSE, MIN_ONSET_GAP, SimulatedBold, draw_onsets
from trainer.utils.errors import DataError

SMALL: dict[str, Any] = {
    **{"rows": 200, "parcels": 30, "members": 8, "shortest": 9, "longest": 12, "rest_steps": 200, "top_k": 4},
    **{"noise": 1e-4, "seed": 0},
}


def load_training_rows(data: SimulatedBold) -> dict[str, Tensor]:
    batch = data.train.to_model_inputs(data.train.batch(torch.arange(len(data.train)), 0))
    assert batch.target is not None
    return batch.inputs | {"y": batch.target}


def test_onsets_keep_minimum_gap_and_fit_in_length() -> None:
    lengths = torch.tensor([8, 9, 12, 20]).repeat(500)
    first = torch.arange(2000) % 2
    onsets = draw_onsets(lengths, first, torch.Generator().manual_seed(0))
    earlier, later = onsets.gather(1, torch.stack((first, 1 - first), 1)).unbind(1)
    assert (later - earlier >= MIN_ONSET_GAP).all()
    assert earlier.min() == 0
    assert ((later + len(HEMODYNAMIC_RESPONSE) - lengths).view(500, 4).amax(0) == 0).all(), (
        "up to the last step, and not beyond"
    )


def test_class_is_order_of_activation_and_not_mean_signal() -> None:
    rows = load_training_rows(SimulatedBold(**SMALL))
    bold, lengths = rows["x"][..., 0], rows["lengths"]
    total = bold.sum(1)
    sums = (total > 1).float() * HEMODYNAMIC_RESPONSE.sum()
    torch.testing.assert_close(total, sums, atol=0.01, rtol=0)
    assert torch.equal(sums, sums[:1].expand_as(sums)), "the same parcels in every run, by the same amount"
    assert ((sums[0] > 0).sum(), lengths.min(), lengths.max()) == (16, 9, 12)
    peak_steps = (bold.argmax(1) * (sums > 0)).float()
    roles = rows["x"][0, 0, :, 2]
    strong = roles > roles[sums[0] > 0].median()  # the network with more in common at rest is the first class
    members = sums[0] > 0
    is_first = peak_steps[:, strong & members].mean(1) < peak_steps[:, ~strong & members].mean(1)
    assert torch.equal(is_first, rows["y"] == 0)


def test_node_roles_separate_networks_and_padding_is_zero() -> None:
    data = SimulatedBold(**SMALL)
    rows = load_training_rows(data)
    padding = torch.arange(rows["x"].shape[1]) >= rows["lengths"][:, None]
    assert (rows["x"][padding] == 0).all()
    strength = rows["x"][0, 0, :, 2].sort(descending=True).values
    gaps = strength[:-1] - strength[1:]
    assert {7, 15} == set(gaps.topk(2).indices.tolist()), "three groups: 8, 8 and the rest"
    assert data.info.best_possible["accuracy"] == 1.0


def test_the_best_possible_accuracy_is_below_one_under_noise() -> None:
    assert 0.5 < SimulatedBold(**SMALL | {"noise": 4.0}).info.best_possible["accuracy"] < 0.95


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"members": 16}, "two networks of 16 exceed 30 parcels"),
        ({"shortest": 7}, "data.shortest must be at least 8"),
        ({"longest": 8}, "given 9 and 8"),
    ],
)
def test_invalid_values_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(DataError, match=message):
        SimulatedBold(**SMALL | change)
