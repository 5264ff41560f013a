"""Runs on a given device, and what a test compares of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from trainer.config import compose
from trainer.core import rng
from trainer.core.task import Task
from trainer.engine import checkpoint, factory, sanity_check
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.strategy import Strategy
from trainer.engine.trainer import Trainer


def build_trainer(
    overrides: Sequence[str],
    device: torch.device,
    folder: Path | None = None,
    callbacks: Sequence[Callback] = (),
    strategy: Strategy[Any] | None = None,
) -> Trainer:
    """Build a run on a device, from the last checkpoint of a folder if there is one.

    Args:
        overrides: Overrides of the configuration.
        device: The device.
        folder: Folder of its checkpoints.
        callbacks: Callbacks of the run.
        strategy: Strategy of the trainer.
    """
    config = compose.compose([*overrides])
    settings, data = config.settings, factory.make_dataset(config.tree)
    rng.seed_everything(settings.seed)
    task = factory.make_task(config.tree, data, config.names).to(device)
    loaders = factory.make_loaders(config.tree, data, settings, device)
    sanity_check.run_sanity_check(task, loaders["train"], config.tree["model"], settings.precision)
    groups = factory.make_param_groups(config.tree, settings, task, loaders["train"])
    saving = [] if folder is None else [CheckpointCallback(CheckpointManager(folder, {}), 30.0)]
    options = {} if strategy is None else {"strategy": strategy}
    trainer = Trainer(task, groups, loaders["train"], loaders["val"], settings, [*saving, *callbacks], **options)
    if folder is not None and (folder / checkpoint.LAST).exists():
        state = checkpoint.load_newest(folder)
        best = checkpoint.load_checkpoint(folder / checkpoint.BEST) if state["best"]["step"] else None
        trainer.load_state_dict(state, best)
    return trainer


def record_updates(trainer: Trainer, steps: int) -> tuple[list[float], list[float]]:
    """Take steps of the first epoch, and return the losses and the gradient norms of its updates."""
    losses: list[Tensor] = []
    norms: list[Tensor] = []

    def record_update(_: str, loss: Tensor, grad_norm: Tensor) -> None:
        losses.append(loss.detach().float())
        norms.append(grad_norm.detach().clone())

    with patch.object(trainer.step_metrics, "record_update", record_update):
        take_steps(trainer, steps)
    return torch.stack(losses).tolist(), torch.stack(norms).tolist()


def take_steps(trainer: Trainer, steps: int, first: int = 0) -> None:
    """Take steps of the first epoch without callbacks, so that nothing else is timed or waits."""
    trainer.task.train()
    batches = trainer.train_loader.iter_epoch(0, start=first)
    for step, batch in zip(range(first, first + steps), batches, strict=False):
        for name in trainer.task.active_groups(step):
            trainer.update_param_group(trainer.param_groups[name], [batch])


def move_to_cpu(state: object) -> object:
    """Return a nested state with all tensors on the CPU."""
    if isinstance(state, Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {key: move_to_cpu(value) for key, value in state.items()}
    return [move_to_cpu(value) for value in state] if isinstance(state, list | tuple) else state


def disable_dropout(task: Task) -> None:
    """Set the probability of every dropout to 0: kernels of CPU and GPU draw different numbers."""
    for module in task.modules():
        for name in ("p", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
