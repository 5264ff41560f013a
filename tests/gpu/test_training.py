"""What a run on a GPU relies on: guard, copies, workers, memory format, optimizers, compilation, commands."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.helpers.device_runs import build_trainer, record_updates, take_steps
from tests.helpers.families import FAMILIES
from tests.helpers.tiny import weights
from trainer.core.batch import Batch
from trainer.core.device_copy import copy_to_device
from trainer.engine import dataloader, nan_guard
from trainer.engine.nan_guard import DeviceNanGuard
from trainer.utils.errors import NonFiniteError

MLP = ("model=mlp", "data=synthetic_tabular", "data.rows=400", "batch_size=16")
CNN = (
    "model=cnn",
    "data=gratings",
    "data.rows=200",
    "model.channels=[8,8]",
    "model.dilations=[1]",
    "model.pools=[max]",
    "batch_size=32",
)
ACCELERATOR = os.environ.get("ACCELERATOR", "cuda")


@pytest.mark.parametrize("precision", [32, "fp16"])
def test_guard_skips_every_update_after_a_nan_until_it_raises(precision: int | str, device: torch.device) -> None:
    trainer = build_trainer((*MLP, f"precision={precision}", "ema=0.9", "grad_clip=1"), device)
    trainer.nan_guard = DeviceNanGuard(device)
    take_steps(trainer, 3)
    before, buffers = weights(trainer).clone(), trainer.nan_guard.steps
    (group,) = trainer.param_groups.values()
    batch = next(trainer.train_loader.iter_epoch(0))
    bad = Batch({"x": batch.inputs["x"] * torch.inf}, batch.target, batch.index)
    trainer.update_param_group(group, [bad])
    assert torch.equal(weights(trainer), before)
    with pytest.raises(NonFiniteError, match="not finite at or before step"):
        trainer.state_dict()  # no checkpoint is written after it
    for _ in range(nan_guard.CHECK_INTERVAL - buffers - 2):
        trainer.update_param_group(group, [batch])
    with pytest.raises(NonFiniteError):
        trainer.update_param_group(group, [batch])
    assert torch.equal(weights(trainer), before)


def test_overflow_in_half_precision_is_skipped_and_lowers_the_scale(device: torch.device) -> None:
    trainer = build_trainer((*MLP, "precision=fp16"), device)
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**60})
    before = weights(trainer).clone()
    take_steps(trainer, 2)
    assert torch.equal(weights(trainer), before)
    assert trainer.scaler.get_scale() == 2.0**58
    trainer.scaler.load_state_dict(trainer.scaler.state_dict() | {"scale": 2.0**8})
    take_steps(trainer, 3)
    assert not torch.equal(weights(trainer), before)
    trainer.check_finite()


@pytest.mark.parametrize(
    "optimizer", ["adam", "adamw", "sgd", "rmsprop", "muon", "torch.optim.NAdam", "torch.optim.SGD"]
)
def test_optimizers_equal_those_of_the_cpu_and_do_not_wait(optimizer: str, device: torch.device, is_real: bool) -> None:
    choice = f"optimizer._target_={optimizer}" if "." in optimizer else f"optimizer={optimizer}"
    options = (*MLP, choice, "optimizer.lr=1e-3", "grad_clip=1", "ema=0.9", "scheduler=onecycle")
    expected, _ = record_updates(build_trainer(options, torch.device("cpu")), 6)
    trainer = build_trainer(options, device)
    found, _ = record_updates(trainer, 6)
    assert found == pytest.approx(expected, rel=1e-3)
    if is_real:
        torch.cuda.set_sync_debug_mode("error")
    try:
        take_steps(trainer, 3, first=6)
    finally:
        if is_real:
            torch.cuda.set_sync_debug_mode("default")


def test_copies_from_the_cpu_are_complete(device: torch.device) -> None:
    values = torch.arange(1 << 20).float()
    copies = []
    for number in range(20):  # the page-locked memory of a copy may be used again while it is still read
        copies.append(copy_to_device(values + number, device))
    for number, copied in enumerate(copies):
        assert torch.equal(copied.cpu(), values + number)


@pytest.mark.parametrize("workers", [0, 2])
def test_rows_from_the_cpu_and_from_workers_are_the_same(
    workers: int, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    if ACCELERATOR == "simulated" and workers:
        pytest.skip("a simulated device has no page-locked memory in other threads")
    expected = build_trainer(FAMILIES["texts of unequal length"], device)
    monkeypatch.setattr(dataloader, "can_fit_on_device", lambda *_: False)
    trainer = build_trainer((*FAMILIES["texts of unequal length"], f"num_workers={workers}"), device)
    assert not trainer.train_loader.is_resident
    for first, second in zip(expected.train_loader.iter_epoch(1), trainer.train_loader.iter_epoch(1), strict=True):
        for name, value in first.inputs.items():
            assert second.inputs[name].device == value.device
            assert torch.equal(second.inputs[name].cpu(), value.cpu())
    take_steps(trainer, 3)
    trainer.check_finite()


def test_channels_last_has_the_same_losses(device: torch.device) -> None:
    plain, converted = (build_trainer((*CNN, f"channels_last={value}"), device) for value in ("false", "true"))
    kernels = [p for p in converted.task.parameters() if p.dim() == 4 and p.shape[1] > 1]
    assert kernels
    assert all(p.is_contiguous(memory_format=torch.channels_last) for p in kernels)
    assert record_updates(converted, 5)[0] == pytest.approx(record_updates(plain, 5)[0], rel=2e-3)


@pytest.mark.parametrize("family", ["mlp", "transformer"])
def test_compiled_loss_has_the_same_losses(family: str, device: torch.device) -> None:
    if ACCELERATOR == "simulated":
        pytest.skip("the compiler does not see a simulated device")
    options = (*(text for text in FAMILIES[family] if "dropout" not in text), "model.dropout=0")
    plain, compiled = (build_trainer((*options, f"compile={value}"), device) for value in ("false", "true"))
    assert record_updates(compiled, 5)[0] == pytest.approx(record_updates(plain, 5)[0], rel=2e-3)


def run_command(*words: str, folder: Path) -> str:
    """Run a command in a new process, and return its output."""
    command = [sys.executable, "-m", "trainer", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=240)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_commands_train_evaluate_predict_and_resume(tmp_path: Path, is_real: bool) -> None:
    name = "cuda" if is_real else "cpu"
    options = (f"device={name}", "deterministic=true", f"hydra.run.dir={tmp_path}/run")
    run_command(*FAMILIES["mlp"], *options, "epochs=2", folder=tmp_path)
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    assert (result["status"], result["device"]) == ("finished", name)
    run_command("evaluate", f"{tmp_path}/run", folder=tmp_path)
    run_command("predict", f"{tmp_path}/run", f"output={tmp_path}/rows.csv", folder=tmp_path)
    assert len((tmp_path / "rows.csv").read_text().splitlines()) > 1
    run_command("evaluate", f"{tmp_path}/run", "device=cpu", folder=tmp_path)
    assert "nothing to do" in run_command("resume", f"{tmp_path}/run", folder=tmp_path)


@pytest.mark.parametrize("hidden", ["[16]", "[1200,1200]"], ids=["gathered gradient", "gradient in chunks"])
def test_two_devices_give_the_weights_of_one(tmp_path: Path, is_real: bool, hidden: str) -> None:
    if is_real and torch.cuda.device_count() < 2:
        pytest.skip("one GPU")
    name = "cuda" if is_real else "cpu"
    options = (*FAMILIES["mlp"], f"model.hidden={hidden}", f"device={name}", "deterministic=true", "shards=2")
    options = (*options, "epochs=2", "draw=false")
    scores = []
    for devices in (1, 2):
        folder = tmp_path / str(devices)
        run_command(*options, f"devices={devices}", f"hydra.run.dir={folder}", folder=tmp_path)
        scores.append(json.loads((folder / "results.json").read_text())["test"])
    assert scores[0] == scores[1]
