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


def everything(data: SimulatedBold) -> dict[str, Tensor]:
    batch = data.train.to_model_inputs(data.train.batch(torch.arange(len(data.train)), 0))
    assert batch.target is not None
    return batch.inputs | {"y": batch.target}


def test_both_networks_are_active_once_in_either_order() -> None:
    lengths = torch.tensor([8, 9, 12, 20]).repeat(500)
    first = torch.arange(2000) % 2
    found = draw_onsets(lengths, first, torch.Generator().manual_seed(0))
    earlier, later = found.gather(1, torch.stack((first, 1 - first), 1)).unbind(1)
    assert (later - earlier >= MIN_ONSET_GAP).all()
    assert earlier.min() == 0
    assert ((later + len(HEMODYNAMIC_RESPONSE) - lengths).view(500, 4).amax(0) == 0).all(), (
        "up to the last step, and not beyond"
    )


def test_the_mean_over_time_says_only_who_is_in_a_network_and_the_order_says_the_class() -> None:
    seen = everything(SimulatedBold(**SMALL))
    bold, lengths = seen["x"][..., 0], seen["lengths"]
    total = bold.sum(1)
    sums = (total > 1).float() * HEMODYNAMIC_RESPONSE.sum()
    torch.testing.assert_close(total, sums, atol=0.01, rtol=0)
    assert torch.equal(sums, sums[:1].expand_as(sums)), "the same parcels in every run, by the same amount"
    assert ((sums[0] > 0).sum(), lengths.min(), lengths.max()) == (16, 9, 12)
    when = (bold.argmax(1) * (sums > 0)).float()
    roles = seen["x"][0, 0, :, 2]
    strong = roles > roles[sums[0] > 0].median()  # the network with more in common at rest is the first class
    members = sums[0] > 0
    is_first = when[:, strong & members].mean(1) < when[:, ~strong & members].mean(1)
    assert torch.equal(is_first, seen["y"] == 0)


def test_roles_tell_the_networks_apart_and_padding_is_zero() -> None:
    data = SimulatedBold(**SMALL)
    seen = everything(data)
    padding = torch.arange(seen["x"].shape[1]) >= seen["lengths"][:, None]
    assert (seen["x"][padding] == 0).all()
    strength = seen["x"][0, 0, :, 2].sort(descending=True).values
    gaps = strength[:-1] - strength[1:]
    assert {7, 15} == set(gaps.topk(2).indices.tolist()), "three groups: 8, 8 and the rest"
    assert data.info.best_possible["accuracy"] == 1.0


def test_the_best_possible_accuracy_is_below_one_under_noise() -> None:
    assert 0.5 < SimulatedBold(**SMALL | {"noise": 4.0}).info.best_possible["accuracy"] < 0.95


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"members": 16}, "two networks of 16 exceed 30 parcels"),
        ({"shortest": 7}, "data.shortest must be at least 8"),
        ({"longest": 8}, "given 9 and 8"),
    ],
)
def test_invalid_values_are_refused(change: dict[str, int], told: str) -> None:
    with pytest.raises(DataError, match=told):
        SimulatedBold(**SMALL | change)
