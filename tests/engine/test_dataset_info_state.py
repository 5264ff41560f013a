"""Saved state of a ``DatasetInfo``: flat, with the keys of checkpoint format 3."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from trainer.core.dataset_info import DatasetInfo, DensityInfo, GraphInfo, ImageInfo, TargetInfo, TextInfo
from trainer.engine.dataset_info_state import STORED_FIELDS, info_from_state, info_state
from trainer.runs import consistency

RUNS_0_1_0 = Path(__file__).parents[1] / "formats/train_0_1_0"

INFO = DatasetInfo(
    sizes={"in_features": 3},
    baseline={"mse": 2.0},
    best_possible={"mse": 1.0},
    class_names=["a", "b"],
    image=ImageInfo(bounds=([0.0], [1.0]), blank=[0.5], blank_class=7),
    target=TargetInfo(scale=4.0, mean=0.5, unit="m", channel_names=["a"], channel_moments=([1.0], [2.0])),
    text=TextInfo(end_token=9),
    graph=GraphInfo(node_classes=torch.tensor([1, 0])),
    density=DensityInfo(modes=torch.eye(2), mode_sigma=0.1),
)


def test_state_is_flat_with_the_stored_keys() -> None:
    state = info_state(INFO)
    node_classes, modes = state.pop("node_classes"), state.pop("modes")
    assert state == {
        "sizes": {"in_features": 3},
        "baseline": {"mse": 2.0},
        "best_possible": {"mse": 1.0},
        "class_names": ["a", "b"],
        "bounds": [[0.0], [1.0]],
        "blank": [0.5],
        "blank_class": 7,
        "target_scale": 4.0,
        "target_mean": 0.5,
        "target_unit": "m",
        "channel_names": ["a"],
        "channel_moments": [[1.0], [2.0]],
        "end_token": 9,
        "mode_sigma": 0.1,
    }
    assert torch.equal(node_classes, torch.tensor([1, 0]))
    assert torch.equal(modes, torch.eye(2))


def test_stored_info_is_restored() -> None:
    restored = info_from_state(info_state(INFO))
    assert (restored.image.blank_class, restored.image.blank) == (7, [0.5])
    assert (restored.target.scale, restored.target.mean, restored.target.unit) == (4.0, 0.5, "m")
    assert (restored.target.channel_names, restored.target.channel_moments) == (["a"], [[1.0], [2.0]])
    assert restored.text == INFO.text
    assert restored.density.mode_sigma == 0.1
    assert restored.density.log_likelihood is None
    assert info_from_state({"sizes": {"in_features": 3}}) == DatasetInfo(sizes={"in_features": 3})


@pytest.mark.parametrize("run", ["csv_mlp", "karate_gcn", "ring_cgan", "series_dlinear", "text_lstm"])
def test_state_saved_by_0_1_0_round_trips(run: str) -> None:
    stored = consistency.load_best(RUNS_0_1_0 / run)["data"]["dataset_info"]
    again = info_state(info_from_state(stored))
    assert [*again] == [*STORED_FIELDS]
    assert again.keys() - stored.keys() == {"target_mean", "target_unit", "channel_names", "channel_moments"}
    for key, value in stored.items():
        assert torch.equal(again[key], value) if isinstance(value, torch.Tensor) else again[key] == value
