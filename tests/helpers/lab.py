"""The objects of a run, built without the command line."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import torch
from hydra import compose, initialize_config_dir

from trainer.config import hydra_compose, precedence
from trainer.config.schema import Settings
from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine import factory, sanity_check
from trainer.engine.callbacks import Callback
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.early_stopping import EarlyStopping
from trainer.engine.trainer import Trainer

CONF = Path(__file__).parents[2] / "conf"


def callbacks_of(settings: Settings, manager: Any = None, *callbacks: Callback | None) -> list[Callback]:
    """Return the callbacks of a run: early stopping, checkpoints if there is a manager, and then the others."""
    found = [callback for callback in callbacks if callback is not None]
    stopping = [] if settings.patience is None else [EarlyStopping(settings.patience)]
    saving = [] if manager is None else [CheckpointCallback(manager, settings.save_every, settings.save_every_steps)]
    return [*stopping, *saving, *found]


@dataclass
class Lab:
    """The objects of one run."""

    config: dict[str, Any]
    settings: Settings
    data: Dataset
    task: Task
    loaders: dict[str, Any]
    trainer: Trainer

    def test(self) -> dict[str, float]:
        """Train to the end; score the test split with the best weights."""
        self.trainer.fit()
        self.trainer.load_best_weights()
        return self.trainer.evaluate_loader(self.loaders["test"])


def configure(*overrides: str) -> dict[str, Any]:
    return deepcopy(_composed(overrides))


@cache
def _composed(overrides: tuple[str, ...]) -> dict[str, Any]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        composed = compose("train", overrides=list(overrides), return_hydra_config=True)
    precedence.resolve_precedence(composed, {text.partition("=")[0] for text in overrides})
    return hydra_compose.to_containers(composed)[1]


def lab(*overrides: str, manager: Any = None, callback: Any = None, strategy: Any = None) -> Lab:
    """Build a run as the command line does: ``lab("model=mlp", "data=moons", "epochs=1")``."""
    config = configure(*overrides)
    settings = Settings(**{f.name: config[f.name] for f in fields(Settings)})
    names = {group: config[group]["_target_"] for group in ("model", "data", "task")}
    data = factory.make_dataset(config)
    rng.seed_everything(settings.seed)
    task = factory.make_task(config, data, names)
    loaders = factory.make_loaders(config, data, settings, torch.device("cpu"))
    sanity_check.run_sanity_check(task, loaders["train"], config["model"])
    if strategy is not None:
        strategy.shard_model(task)
    param_groups = factory.make_param_groups(config, settings, task, loaders["train"], strategy)
    callbacks = callbacks_of(settings, manager, callback) + ([] if strategy is None else strategy.make_callbacks())
    trainer = Trainer(task, param_groups, loaders["train"], loaders["val"], settings, callbacks, strategy)
    return Lab(config, settings, data, task, loaders, trainer)
