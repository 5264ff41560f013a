"""Contenders of ``tests.bench.gpu``: a step of the trainer, and of a hand-written loop, of the same model and rows."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainer.config import compose
from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.split import TensorSplit
from trainer.engine import factory, precision
from trainer.engine.trainer import Trainer

IS_TRIAL = os.environ.get("ACCELERATOR") == "cpu"
Step = Callable[[], object]


@dataclass(frozen=True)
class Case:
    """A model, the shape of its random inputs, classes, and batch size."""

    overrides: tuple[str, ...]
    shape: tuple[int, ...]
    classes: int
    batch_size: int


TRANSFORMER = ("model=transformer", "data=synthetic_seq", "model.dropout=0")
CASES = {
    "MLP": Case(("model=mlp", "data=synthetic_tabular"), (20,), 2, 64),
    "LSTM": Case(("model=lstm", "data=synthetic_seq"), (10, 20), 2, 64),
    "CNN": Case(("model=cnn", "data=gratings"), (1, 28, 28), 10, 256),
    "ResNet": Case(("model=resnet", "data=gratings", "channels_last=true"), (1, 28, 28), 10, 256),
    "ResNet bf16": Case(
        ("model=resnet", "data=gratings", "channels_last=true", "precision=bf16"), (1, 28, 28), 10, 256
    ),
    "Transformer": Case(TRANSFORMER, (10, 20), 2, 64),
    "Transformer bf16": Case((*TRANSFORMER, "precision=bf16"), (10, 20), 2, 64),
}


class RandomRows(Dataset):
    """Random rows and classes, so that every contender computes the same."""

    shapes = "x (B, ...) -> (B)"

    def __init__(self, case: Case):
        rows = case.batch_size * (4 if IS_TRIAL else 32)
        x, y = torch.randn(rows, *case.shape), torch.randint(case.classes, (rows,))
        self.train = self.val = self.test = TensorSplit({"x": x}, y)
        self.info = DatasetInfo(sizes={})


def build_trainer(case: Case, device: torch.device, *options: str) -> Trainer:
    """Build the trainer of a case, with its loaders on the device."""
    common = (f"batch_size={case.batch_size}", "grad_clip=1", "epochs=1000", "drop_last=true")
    config = compose.compose([*case.overrides, *common, *options])
    rng.seed_everything(0)
    data = RandomRows(case)
    task = factory.make_task(config.tree, factory.make_dataset(config.tree), config.names).to(device)
    loaders = factory.make_loaders(config.tree, data, config.settings, device)
    groups = factory.make_param_groups(config.tree, config.settings, task, loaders["train"])
    return Trainer(task, groups, loaders["train"], loaders["val"], config.settings)


def make_trainer_step(case: Case, device: torch.device, *options: str) -> Step:
    """Return a step of the trainer, with its loader, guard, clipping and metrics."""
    trainer = build_trainer(case, device, *options)
    trainer.task.train()
    batches = iter(())
    epoch = 0

    def step() -> None:
        nonlocal batches, epoch
        batch = next(batches, None)
        if batch is None:
            batches = trainer.train_loader.iter_epoch(epoch)
            batch, epoch = next(batches), epoch + 1
        trainer.update_param_group(trainer.param_groups["model"], [batch])

    return step


def make_loop_step(case: Case, device: torch.device, compile_mode: str | None = None) -> Step:
    """Return a step of a hand-written loop, optionally with a compiled forward pass."""
    trainer = build_trainer(case, device)
    model, settings = trainer.task.model.train(), trainer.settings
    parameters = [nn.Parameter(p.detach().clone()) for p in model.parameters()]
    for (name, _), parameter in zip(list(model.named_parameters()), parameters, strict=True):
        owner, _, own_name = name.rpartition(".")
        setattr(model.get_submodule(owner), own_name, parameter)
    forward = model if compile_mode is None else torch.compile(model, mode=compile_mode)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    split = trainer.train_loader.split
    assert isinstance(split, TensorSplit)
    x, y = split.inputs["x"], split.require_target()
    batches = iter(())
    is_channels_last = settings.channels_last and x.dim() == 4

    def step() -> None:
        nonlocal batches
        rows = next(batches, None)
        if rows is None:
            batches = iter(torch.randperm(len(x), device=device).split(case.batch_size))
            rows = next(batches)
        inputs = x[rows]
        if is_channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        optimizer.zero_grad(set_to_none=True)
        with precision.autocast_context(device, settings.precision):
            loss = compute_loss(forward(inputs), y[rows])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def compute_loss(logits: Tensor, y: Tensor) -> Tensor:
    if logits.shape[1] == 1:
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0], y.float())
    return nn.functional.cross_entropy(logits, y)


CONTENDERS: dict[str, Callable[[Case, torch.device], Step]] = {
    "trainer": make_trainer_step,
    "trainer compile": lambda case, device: make_trainer_step(case, device, "compile=true"),
    "loop": make_loop_step,
    "loop compile": lambda case, device: make_loop_step(case, device, "default"),
    "loop graphs": lambda case, device: make_loop_step(case, device, "reduce-overhead"),
}
