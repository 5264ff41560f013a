"""Every model trains on a simulated CUDA device.

No operator mixes devices, no step waits for the device, and every operation has a deterministic kernel.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.helpers.device_runs import build_trainer, move_to_cpu
from tests.helpers.digest import digest
from tests.helpers.families import COMMON, FAMILIES
from tests.helpers.own_files import OWN_MODELS
from tests.helpers.pairs import MODELS, first_dataset, make_pair
from tests.helpers.simulated_cuda import CUDA, MixedDeviceError, SimulatedCuda, simulate_cuda
from tests.helpers.tiny import StopAt, weights
from trainer.cli.main import run_command
from trainer.config import compose
from trainer.core import rng
from trainer.core.batch import Batch
from trainer.engine import determinism, factory, nan_guard
from trainer.engine.data_parallel import DataParallel
from trainer.engine.process_group import SingleProcess
from trainer.engine.trainer import Trainer
from trainer.runs import train
from trainer.utils.errors import Interrupted, NonFiniteError

SAMPLED_MODELS = [
    pytest.param(model, marks=[pytest.mark.slow] * (place % 6 > 0 or model in OWN_MODELS))
    for place, model in enumerate(MODELS)
]
WAITS = {
    "brain": "the graph convolution runs over valid steps only, whose number depends on the values",
    "pretrained": "the models of transformers look at the attention mask",
}
"""Models whose steps wait for the device, with the reason."""
STEPS = 3


def take_and_watch_steps(trainer: Trainer, device: SimulatedCuda) -> list[str]:
    """Take a few steps after the first, and return where the host waited for the device."""
    trainer.task.train()
    batches = trainer.train_loader.iter_epoch(0)
    for group in trainer.param_groups.values():
        trainer.update_param_group(group, [next(batches)])
    device.waits.clear()
    for step, batch in zip(range(STEPS), batches, strict=False):
        for name in trainer.task.active_groups(step):
            trainer.update_param_group(trainer.param_groups[name], [batch])
    return list(device.waits)


@pytest.mark.parametrize("model", SAMPLED_MODELS)
def test_steps_mix_no_devices_and_do_not_wait(model: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(determinism.WORKSPACE_VARIABLE, ":4096:8")
    pair = make_pair(model, first_dataset(model))
    config = pair.config
    with simulate_cuda() as device:
        rng.seed_everything(0)
        task = pair.task.to(CUDA)
        loaders = factory.make_loaders(config.tree, pair.data, config.settings, CUDA)
        groups = factory.make_param_groups(config.tree, config.settings, task, loaders["train"])
        trainer = Trainer(task, groups, loaders["train"], loaders["val"], config.settings)
        waits = take_and_watch_steps(trainer, device)
        with determinism.deterministic_kernels(enabled=True):  # no operation lacks a deterministic kernel
            take_and_watch_steps(trainer, device)
            trainer.run_validation()
        trainer.check_finite()
    assert bool(waits) == (model in WAITS), waits


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "rmsprop", "muon", "torch.optim.NAdam", "torch.optim.SGD"])
def test_optimizers_and_precisions_do_not_wait(optimizer: str, precision: str) -> None:
    choice = f"optimizer._target_={optimizer}" if "." in optimizer else f"optimizer={optimizer}"
    options = ("model=mlp", "data=synthetic_tabular", "data.rows=200", "batch_size=16", "grad_clip=1", "ema=0.9")
    with simulate_cuda() as device:
        trainer = build_trainer((*options, choice, f"precision={precision}"), CUDA)
        assert not take_and_watch_steps(trainer, device)
        assert all(value.isfinite().all() for value in trainer.task.parameters())


@pytest.mark.slow
@pytest.mark.parametrize("family", ["images augmented and mixed", "masks augmented and mixed"])
def test_augmentation_does_not_wait(family: str) -> None:
    with simulate_cuda() as device:
        assert not take_and_watch_steps(build_trainer(FAMILIES[family], CUDA), device)


@pytest.mark.slow
@pytest.mark.parametrize(
    "family", ["unet", "gpt over moving windows", "texts of unequal length", "vq_vae", "graph_vae", "real_nvp"]
)
def test_whole_run_with_figures_and_inference(family: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    with simulate_cuda():
        train.run(compose.compose([*FAMILIES[family], "epochs=1", "device=cuda", f"hydra.run.dir={folder}"]))
        assert run_command(["evaluate", folder]) == 0
        verb = {"unet": "predict", "texts of unequal length": "predict"}.get(family, "sample")
        outputs = {"unet": [f"output={tmp_path}/masks"], "texts of unequal length": [f"output={tmp_path}/rows.csv"]}
        assert run_command([verb, folder, *outputs.get(family, [])]) == 0


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mlp", "diffusion", "wgan_gp"])
def test_resumed_run_restores_the_generator_of_the_device(family: str, tmp_path: Path) -> None:
    options = (*FAMILIES[family], *COMMON, "epochs=2")
    with simulate_cuda() as device:
        whole = build_trainer(options, CUDA)
        initial = device.generator_state
        whole.fit()
        assert not torch.equal(device.generator_state, initial)  # the noise is drawn on the device
        stop = whole.total_steps // 2 + 1
        with pytest.raises(Interrupted):
            build_trainer(options, CUDA, tmp_path, [StopAt(stop)]).fit()
        resumed = build_trainer(options, CUDA, tmp_path)
        resumed.fit()
        assert digest(move_to_cpu(resumed.state_dict())) == digest(move_to_cpu(whole.state_dict()))


def test_guard_of_the_device_finds_nan_at_its_interval_and_before_a_state() -> None:
    with simulate_cuda() as device:
        trainer = build_trainer(("model=mlp", "data=synthetic_tabular", "data.rows=200", "batch_size=16"), CUDA)
        take_and_watch_steps(trainer, device)
        before = weights(trainer).cpu()
        (group,) = trainer.param_groups.values()
        batch = next(trainer.train_loader.iter_epoch(0))
        bad = Batch({"x": batch.inputs["x"] * torch.inf}, batch.target, batch.index)
        trainer.update_param_group(group, [bad])
        with pytest.raises(NonFiniteError, match="not finite at or before step"):
            trainer.state_dict()
        for _ in range(nan_guard.CHECK_INTERVAL - STEPS - 3):
            trainer.update_param_group(group, [batch])
        with pytest.raises(NonFiniteError):
            trainer.update_param_group(group, [batch])
        assert torch.equal(weights(trainer).cpu(), before)


def test_simulated_device_refuses_mixed_tensors() -> None:
    with simulate_cuda() as device:
        x = torch.ones(3, device="cuda")
        assert (x.device, (x * 2).device, x.cpu().device) == (CUDA, CUDA, torch.device("cpu"))
        assert (x * torch.tensor(2.0)).device == CUDA  # scalars may be on the CPU
        for mix in (
            lambda: x + torch.ones(3),
            lambda: torch.cat((x, torch.zeros(1))),
            lambda: torch.nn.Linear(3, 2)(x),
            lambda: torch.ones(3)[x.long()],
            lambda: torch.rand(3, generator=torch.Generator(), device="cuda"),
        ):
            with pytest.raises(MixedDeviceError):
                mix()
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()
        device.waits.clear()
        assert x.sum().item() == 3
        torch.tensor([1.0], device="cuda")
        x[torch.tensor([0, 1])]
        x[x > 0]
        assert len(device.waits) == 4
        torch.ones(3).pin_memory().to("cuda", non_blocking=True)
        assert len(device.waits) == 4


@pytest.mark.slow
@pytest.mark.parametrize("family", ["mlp", "cnn with batch norm", "masks augmented and mixed", "wgan_gp", "graph_vae"])
def test_shards_mix_no_devices_and_do_not_wait(family: str) -> None:
    with simulate_cuda() as device:
        strategy = DataParallel(SingleProcess(), 4)
        trainer = build_trainer((*FAMILIES[family], "epochs=1"), CUDA, strategy=strategy)
        strategy.start(trainer)
        trainer.task.train()
        for step, batch in enumerate(strategy.iter_epoch(trainer.train_loader, 0, 0)):
            if step == 1:  # caches are filled
                device.waits.clear()
            for name in trainer.task.active_groups(step):
                trainer.update_param_group(trainer.param_groups[name], [batch])
        assert step > 1
        assert not device.waits
        trainer.check_finite()
