"""Train any neural network from a configuration.

    import trainer

    config = trainer.compose(["model=lstm", "data=synthetic_seq", "epochs=3"])
    data, task = trainer.build(config)   # task.model is the network
    result = trainer.run(config)         # trains, validates, tests; result.test["accuracy"]

Importing this package imports neither torch nor Hydra.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config.compose import Config
    from trainer.core.dataset import Dataset
    from trainer.core.metric import Metric
    from trainer.core.task import Task
    from trainer.runs.results import Result

__all__ = ["Metric", "build", "compose", "run"]
_EXPORTS = {"Metric": "trainer.core.metric"}
"""Classes that users subclass or construct, each with its module, which is imported when it is asked for."""


def __getattr__(name: str) -> Any:
    if name not in _EXPORTS:
        raise AttributeError(f"module 'trainer' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_EXPORTS[name]), name)


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Config:
    """The checked configuration of a command line; ``config_dir`` adds a folder of your own YAML files.

    Raises ConfigError with every problem at once.
    """
    from trainer.config import compose as config

    return config.compose(overrides, [] if config_dir is None else [Path(config_dir)])


def build(config: Config) -> tuple[Dataset, Task]:
    """The data set, and the task with its model (``task.model``), with fresh weights from ``seed``.

    Random numbers of your own go on as if nothing had been drawn. Raises ConfigError beside a run in another thread.
    """
    from trainer.core import rng

    with rng.preserve_global_state():
        from trainer.engine import dataset_loading, factory  # here: what it imports may draw, once in a process

        data = dataset_loading.load_dataset(config)
        rng.seed_everything(config.settings.seed)
        return data, factory.make_task(config.tree, data, config.names)


def run(config: Config) -> Result:
    """Trains, validates and tests, and leaves a run folder; the same as the command line does.

    Random numbers and threads of your own are afterwards as before. Raises ConfigError beside a run in another thread.
    """
    from trainer.core import rng

    with rng.preserve_global_state():
        from trainer.runs import train  # here: what it imports may draw, once in a process

        return train.run(config)
