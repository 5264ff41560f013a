"""Tiny tasks and runs with hand-computable results, for tests of the loop and of resuming."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tests.helpers.lab import callbacks_of, configure
from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.batch import Batch, Score
from trainer.core.split import TensorSplit
from trainer.core.task import Task
from trainer.data.augment.image_augment import Augment
from trainer.engine import factory
from trainer.engine.callbacks import Callback
from trainer.engine.dataloader import Loader
from trainer.engine.step_metrics import StepMetrics
from trainer.engine.trainer import Trainer
from trainer.utils.errors import Interrupted

CPU = torch.device("cpu")
SGD = {"_target_": "trainer.optim.optimizers.SGD", "lr": 0.1, "momentum": 0.0, "nesterov": False}
MOMENTUM = SGD | {"momentum": 0.9, "lr": 0.05}
DECAY = {"weight_decay": 0.0, "decay_norm_and_bias": True}
CONSTANT = {"_target_": "trainer.optim.lr_schedules.Constant", "warmup": 0}
PLATEAU = {"_target_": "trainer.optim.lr_schedules.Plateau", "factor": 0.5, "patience": 2, "min_lr": 0.0, "warmup": 0}
CYCLE = {
    "_target_": "trainer.optim.lr_schedules.OneCycle",
    "pct_start": 0.3,
    "div_factor": 25.0,
    "final_div_factor": 1e4,
    "anneal": "cos",
    "cycle_momentum": False,
    "momentum_range": [0.85, 0.95],
    "warmup": 0,
}


class Linear(nn.Module):
    shapes = "x (B, F) -> (B)"

    def __init__(self, width: int = 3):
        super().__init__()
        self.head = nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)[:, 0]


class LeastSquares(Task):
    monitor = "mse"

    def error(self, batch: Batch) -> Tensor:
        assert batch.target is not None
        return self.forward_batch(batch) - batch.target

    def loss(self, batch: Batch, group: str) -> Tensor:
        return self.error(batch).square().mean()

    def score(self, batch: Batch) -> Score:
        return {"sum": self.error(batch).square().sum(), "count": torch.tensor(len(batch))}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"mse": float(totals["sum"] / totals["count"])}


class Unweighted(LeastSquares):
    """A task with the common accumulation bug: a mean of means."""

    def num_loss_terms(self, batch: Batch) -> int:
        return 1


class Numbers(nn.Module):
    shapes = "x (B, F) -> (B, F)"

    def __init__(self, **values: list[float]):
        super().__init__()
        for name, value in values.items():
            self.register_parameter(name, nn.Parameter(torch.tensor(value)))

    def forward(self, x: Tensor) -> Tensor:
        return x


class Formula(LeastSquares):
    """A task whose loss is any function of the parameters, with scores from a list."""

    def __init__(self, model: nn.Module, formula: Callable[[nn.Module], Tensor], scores: Iterable[float] = ()):
        super().__init__(model)
        self.formula = formula
        self.scores = iter(scores)

    def loss(self, batch: Batch, group: str) -> Tensor:
        return self.formula(self.model)

    def score(self, batch: Batch) -> Score:
        return {}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"mse": next(self.scores, 0.0)}


def make_linear_loss(gradient: list[float]) -> Callable[[nn.Module], Tensor]:
    """Return a loss with a constant gradient with respect to ``w``."""
    return lambda model: (model.get_parameter("w") * torch.tensor(gradient)).sum()


def get_scalar(task: Task) -> float:
    """Return the value of a scalar ``w``."""
    return task.model.get_parameter("w").item()


def rows(n: int, seed: int = 0) -> TensorSplit:
    generator = rng.make_generator(seed)
    x = torch.randn(n, 3, generator=generator)
    return TensorSplit({"x": x}, x @ torch.tensor([1.0, -2.0, 0.5]) + torch.randn(n, generator=generator))


@cache
def defaults() -> Settings:
    config = configure("model=mlp", "data=synthetic_seq")
    return Settings(**{f.name: config[f.name] for f in fields(Settings)})


def tiny(
    task: Task | None = None,
    *,
    train: TensorSplit | None = None,
    augment: Augment | None = None,
    optimizer: dict[str, Any] = SGD,
    scheduler: dict[str, Any] = CONSTANT,
    manager: Any = None,
    callback: Any = None,
    **changes: Any,
) -> Trainer:
    """Build a trainer of a few parameters with fixed initial weights."""
    settings = replace(defaults(), **{"epochs": 1, "batch_size": 4, "max_steps": None} | changes)
    rng.seed_everything(settings.seed)
    task = task or LeastSquares(Linear())
    with torch.no_grad():
        for parameter in task.parameters():
            if isinstance(task.model, Linear):
                parameter.copy_(torch.linspace(-0.5, 0.5, parameter.numel()).view_as(parameter))
    train_loader, val_loader = (
        Loader(
            split,
            name,
            batch_size=settings.batch_size,
            device=CPU,
            seed=settings.seed,
            train=name == "train",
            augment=augment if name == "train" else None,
            drop_last=settings.drop_last,
            workers=settings.num_workers,
        )
        for name, split in (("train", train or rows(16)), ("val", rows(10, seed=1)))
    )
    own = DECAY if optimizer["_target_"].startswith("trainer.") else {}
    param_groups = factory.make_param_groups(
        {"optimizer": optimizer | own, "scheduler": scheduler}, settings, task, train_loader
    )
    return Trainer(task, param_groups, train_loader, val_loader, settings, callbacks_of(settings, manager, callback))


def weights(trainer: Trainer) -> Tensor:
    return torch.cat([group.params.data.clone() for group in trainer.param_groups.values()])


def losses_of(trainer: Trainer) -> list[float]:
    """Return the loss of each remaining step of a run."""
    losses: list[float] = []
    inner = trainer.loss_fn

    def record_loss(batch: Batch, group: str) -> Tensor:
        loss = inner(batch, group)
        losses.append(loss.item())
        return loss

    trainer.loss_fn = record_loss
    trainer.fit()
    return losses


class StopAt(Callback):
    """A callback that interrupts after a step, or during the validation after it."""

    def __init__(self, step: int, training: bool = True):
        self.at = step, training

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if (trainer.step, True) == self.at:
            raise Interrupted("stopped by SIGTERM", 15)

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        if (trainer.step, False) == self.at:
            raise Interrupted("stopped by SIGTERM", 15)


class NoisyLeastSquares(LeastSquares):
    """A task that draws from every generator in its loss, and from torch's in its score."""

    def loss(self, batch: Batch, group: str) -> Tensor:
        noise = 0.3 * torch.randn(len(batch)) + 0.3 * random.random() + 0.3 * float(np.random.rand())
        return (self.error(batch) + noise).square().mean()

    def score(self, batch: Batch) -> Score:
        noise = 0.1 * torch.randn(len(batch))
        return {
            "sum": (self.error(batch) + noise).square().sum(),
            "count": torch.tensor(len(batch)),
        }
