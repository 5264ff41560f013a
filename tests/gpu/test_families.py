"""Every family on a GPU: losses of the CPU, no wait in a step, half precision, and exact resume."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch

from tests.helpers.device_runs import build_trainer, disable_dropout, move_to_cpu, record_updates, take_steps
from tests.helpers.digest import digest
from tests.helpers.families import COMMON, FAMILIES
from tests.helpers.shared_random_numbers import SharedRandomNumbers
from tests.helpers.tiny import StopAt
from trainer.core import rng
from trainer.engine.determinism import deterministic_kernels
from trainer.utils.errors import Interrupted

STEPS = 8
TOLERANCE = 3e-4
"""Relative difference of losses, and a tenth of that of gradient norms. On a CPU, weights that differ by 1e-5 change
the losses of 8 steps of these families by at most 2e-6 and the norms by 1e-4, with SGD (Adam divides tiny gradients by
themselves, so that rounding grows). Kernels in float32 differ by 1e-7 to 1e-5; a wrong mask or scale by percents."""
HALF_TOLERANCE = {"bf16": 0.05, "fp16": 0.02}
"""Relative difference of the first loss; a bf16 number has 8 bits, so one product is off by up to 0.4 percent."""
SGD = ("optimizer=sgd", "optimizer.lr=1e-2", "grad_clip=1.0")


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_equal_those_of_the_cpu(family: str, device: torch.device) -> None:
    found = []
    for target in (torch.device("cpu"), device):
        trainer = build_trainer((*FAMILIES[family], *SGD), target)
        disable_dropout(trainer.task)
        rng.seed_everything(1)
        with SharedRandomNumbers():
            losses, norms = record_updates(trainer, STEPS)
            trainer.run_validation()
        found.append((losses, norms, trainer.history[-1][f"val_{trainer.monitor}"]))
    (losses, norms, score), (device_losses, device_norms, device_score) = found
    assert device_losses == pytest.approx(losses, rel=TOLERANCE, abs=TOLERANCE)
    assert device_norms == pytest.approx(norms, rel=10 * TOLERANCE, abs=10 * TOLERANCE)
    assert device_score == pytest.approx(score, rel=0.05, abs=0.05)  # a few rows may cross a threshold


@pytest.mark.parametrize("family", FAMILIES)
def test_steps_do_not_wait_for_the_device(family: str, device: torch.device, is_real: bool) -> None:
    trainer = build_trainer(FAMILIES[family], device)
    take_steps(trainer, 2)  # algorithms are chosen, and caches filled
    if is_real:
        torch.cuda.set_sync_debug_mode("error")
    try:
        take_steps(trainer, 3, first=2)
    finally:
        if is_real:
            torch.cuda.set_sync_debug_mode("default")
    trainer.check_finite()


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_trains(family: str, precision: str, device: torch.device, is_real: bool) -> None:
    if not is_real and precision == "fp16":
        pytest.skip("recurrent layers and others have no fp16 on a CPU")
    losses = {}
    for name in (32, precision):
        trainer = build_trainer((*FAMILIES[family], *SGD, f"precision={name}"), device)
        disable_dropout(trainer.task)
        rng.seed_everything(1)
        losses[name], _ = record_updates(trainer, STEPS)
        trainer.check_finite()
        assert all(value.isfinite().all() for value in trainer.task.parameters())
    assert all(math.isfinite(loss) for loss in losses[precision])
    tolerance = HALF_TOLERANCE[precision]
    assert losses[precision][0] == pytest.approx(losses[32][0], rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("family", FAMILIES)
def test_resumed_run_is_exact_with_deterministic_kernels(family: str, device: torch.device, tmp_path: Path) -> None:
    overrides = (*FAMILIES[family], *COMMON, "epochs=2")
    with deterministic_kernels(enabled=True):
        whole = build_trainer(overrides, device)
        whole.fit()
        stop = whole.total_steps // 2 + max(1, whole.total_steps // 4)
        with pytest.raises(Interrupted):
            build_trainer(overrides, device, tmp_path, [StopAt(stop)]).fit()
        resumed = build_trainer(overrides, device, tmp_path)
        assert resumed.step == stop
        resumed.fit()
        states = [{"state": run.state_dict(), "best weights": run.best.weights} for run in (whole, resumed)]
        assert digest(move_to_cpu(states[0])) == digest(move_to_cpu(states[1]))
