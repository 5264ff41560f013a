"""Flow matching with a velocity known in closed form, and what it shares with diffusion."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from tests.helpers.denoisers import (
    OptimalDenoiser,
    RecordingDenoiser,
    ZeroDenoiser,
    evaluate_test_split,
    flow_matching,
    ring,
)
from trainer.core.batch import Batch

RING = ring()
exact = partial(OptimalDenoiser, RING, is_flow_matching=True)


@pytest.mark.parametrize(("sampler", "steps"), [("heun", 20), ("euler", 100)])
def test_the_true_velocity_passes_the_gate(sampler: str, steps: int) -> None:
    scores = evaluate_test_split(flow_matching(exact("velocity"), sampler=sampler, steps=steps), RING)
    assert scores["within"] > 0.9
    assert scores["modes"] == 8
    assert scores["energy_distance"] < 0.02


@pytest.mark.parametrize("model", [ZeroDenoiser(), exact("eps"), exact("x0")], ids=["untrained", "noise", "data"])
def test_a_wrong_velocity_misses_the_gate(model: torch.nn.Module) -> None:
    assert evaluate_test_split(flow_matching(model), RING)["energy_distance"] > 0.05


def test_rows_are_shown_on_the_straight_way_from_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[torch.Tensor] = []

    class Shown(ZeroDenoiser):
        def forward(self, x: torch.Tensor, time: torch.Tensor, label: Any = None) -> torch.Tensor:
            shown.extend((x, time))
            return torch.zeros_like(x)

    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, -2.0))
    loss = flow_matching(Shown()).loss(Batch({"x": torch.ones(50, 2)}, None, torch.arange(50)), "model")
    x, time = shown
    torch.testing.assert_close(x, (time - 2 * (1 - time))[:, None].expand(-1, 2))
    assert time.unique().numel() == 50
    assert loss.item() == pytest.approx(9.0)


def test_rows_are_of_the_class_that_was_asked_for() -> None:
    assert evaluate_test_split(flow_matching(exact("velocity", is_conditional=True)), RING)["label_accuracy"] > 0.99


@pytest.mark.parametrize(("sampler", "looks"), [("euler", 7), ("heun", 14)])
def test_time_increases_from_noise_to_data(sampler: str, looks: int) -> None:
    spy = RecordingDenoiser()
    task = flow_matching(spy, sampler=sampler, steps=7)
    task.setup(RING)
    task.draw(2, None)
    times = torch.stack(spy.times)[:, 0]
    assert len(times) == looks
    assert times[0] == 0
    assert times.unique().tolist() == pytest.approx([k / 7 for k in range(7 + (sampler == "heun"))])
