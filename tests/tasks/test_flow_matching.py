"""Flow matching with a velocity known in closed form."""

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
def test_exact_velocity_passes_gate(sampler: str, steps: int) -> None:
    scores = evaluate_test_split(flow_matching(exact("velocity"), sampler=sampler, steps=steps), RING)
    assert scores["within"] > 0.9
    assert scores["modes"] == 8
    assert scores["energy_distance"] < 0.02


@pytest.mark.parametrize("model", [ZeroDenoiser(), exact("eps"), exact("x0")], ids=["untrained", "noise", "data"])
def test_wrong_velocity_misses_gate(model: torch.nn.Module) -> None:
    assert evaluate_test_split(flow_matching(model), RING)["energy_distance"] > 0.05


def test_loss_interpolates_linearly_between_noise_and_data(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: list[torch.Tensor] = []

    class RecordingModel(ZeroDenoiser):
        def forward(self, x: torch.Tensor, time: torch.Tensor, label: Any = None) -> torch.Tensor:
            recorded.extend((x, time))
            return torch.zeros_like(x)

    monkeypatch.setattr(torch, "randn_like", lambda x: torch.full_like(x, -2.0))
    loss = flow_matching(RecordingModel()).loss(Batch({"x": torch.ones(50, 2)}, None, torch.arange(50)), "model")
    x, time = recorded
    torch.testing.assert_close(x, (time - 2 * (1 - time))[:, None].expand(-1, 2))
    assert time.unique().numel() == 50
    assert loss.item() == pytest.approx(9.0)


def test_samples_have_requested_class() -> None:
    assert evaluate_test_split(flow_matching(exact("velocity", is_conditional=True)), RING)["label_accuracy"] > 0.99


@pytest.mark.parametrize(("sampler", "evaluations"), [("euler", 7), ("heun", 14)])
def test_time_increases_from_noise_to_data(sampler: str, evaluations: int) -> None:
    spy = RecordingDenoiser()
    task = flow_matching(spy, sampler=sampler, steps=7)
    task.setup(RING)
    task.draw(2, None)
    times = torch.stack(spy.times)[:, 0]
    assert len(times) == evaluations
    assert times[0] == 0
    assert times.unique().tolist() == pytest.approx([k / 7 for k in range(7 + (sampler == "heun"))])
