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
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from trainer.config.compose import Config
    from trainer.core.dataset import Dataset
    from trainer.core.task import Task
    from trainer.runs.results import Result

__all__ = ["build", "compose", "run"]


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Config:
    """The checked configuration of a command line; ``config_dir`` adds a folder of your own YAML files.

    Raises ConfigError with every problem at once.
    """
    from trainer.config import compose as config
    from trainer.config.hydra_compose import preserve_hydra_state

    with preserve_hydra_state():
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


def run(config: Config, *, quiet: bool = False) -> Result:
    """Train, validate and test, and leave a run folder; the same as the command line does.

    The process is afterwards as before: random numbers, threads, signal handlers and how memory is freed. In another
    thread than the main one it runs too, but Ctrl-C does not reach it.

    Args:
        quiet: Print nothing to the terminal.

    Raises:
        ConfigError: The configuration does not fit, or another run is going on in a thread beside it.
    """
    from trainer.core import rng

    with rng.preserve_global_state():
        from trainer.engine import device  # here: what they import may draw, once in a process
        from trainer.runs import train
        from trainer.viz.console import silence_console

        with silence_console(quiet=quiet):
            try:
                return train.run(config)
            finally:
                device.keep_freed_memory(keep=False)
