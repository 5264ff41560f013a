"""Flow matching with a velocity known in closed form, and what it shares with diffusion."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import lab
from denoisers import Exact, Silent, Spy, drawn, flow_matching, ring
from test_resume import Chain, summary
from tiny import StopAt

from trainer.batch import Batch
from trainer.trainer import Trainer

RING = ring()
exact = partial(Exact, RING, is_straight=True)


@pytest.mark.parametrize(("sampler", "steps"), [("heun", 20), ("euler", 100)])
def test_the_true_velocity_passes_the_gate(sampler: str, steps: int) -> None:
    scores = drawn(flow_matching(exact("velocity"), sampler=sampler, steps=steps), RING)
    assert scores["within"] > 0.9
    assert scores["modes"] == 8
    assert scores["energy_distance"] < 0.02


@pytest.mark.parametrize("model", [Silent(), exact("eps"), exact("x0")], ids=["untrained", "noise", "data"])
def test_what_is_no_velocity_misses_the_gate(model: torch.nn.Module) -> None:
    assert drawn(flow_matching(model), RING)["energy_distance"] > 0.05


def test_rows_are_shown_on_the_straight_way_from_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[torch.Tensor] = []

    class Shown(Silent):
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
    assert drawn(flow_matching(exact("velocity", is_told=True)), RING)["label_accuracy"] > 0.99


@pytest.mark.parametrize(("sampler", "looks"), [("euler", 7), ("heun", 14)])
def test_time_runs_from_noise_to_data(sampler: str, looks: int) -> None:
    spy = Spy()
    task = flow_matching(spy, sampler=sampler, steps=7)
    task.attach(RING)
    task.draw(2, None)
    times = torch.stack(spy.times)[:, 0]
    assert len(times) == looks
    assert times[0] == 0
    assert times.unique().tolist() == pytest.approx([k / 7 for k in range(7 + (sampler == "heun"))])


SMALL = (
    *("model=diffusion", "model.width=4", "model.blocks=1", "model.num_classes=8", "data=ring", "data.rows=60"),
    *("batch_size=8", "epochs=3", "max_steps=null", "val_every=1", "task.samples=6", "task.steps=2"),
    *("accumulate=2", "grad_clip=0.5", "ema=0.7", "scheduler=onecycle"),
)
"""48 rows: 6 batches, 3 steps an epoch, 9 in all."""


@pytest.mark.parametrize("task", [pytest.param("diffusion", marks=pytest.mark.slow), "flow_matching"])
def test_a_stop_changes_no_bit(tmp_path: Path, task: str) -> None:
    def make(keeper: Any = None, watcher: Any = None) -> Trainer:
        return lab(*SMALL, f"task={task}", keeper=keeper, watcher=watcher).trainer

    whole = make()
    whole.fit()
    assert whole.step == 9
    chain = Chain(make, tmp_path)
    chain.start(StopAt(2))
    chain.go_on(StopAt(6, training=False))
    assert summary(chain.go_on()) == summary(whole)
