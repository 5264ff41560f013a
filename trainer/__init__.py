"""Train any neural network from a configuration.

    import trainer

    config = trainer.compose(["model=lstm", "data=synthetic_seq", "epochs=3"])
    data, task = trainer.build(config)   # task.model is the network
    result = trainer.run(config)         # trains, validates, tests; result.test["accuracy"]
    model = trainer.load(result.run_dir)
    labels = model.predict(rows)         # a data frame, arrays, texts, images or the path of a file

Base classes and annotations for plugins are exported here too: ``from trainer import Task, PositiveInt``.

Importing this package imports neither torch nor Hydra: names are resolved on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.config.run_config import Config
    from trainer.core import rng
    from trainer.core.batch import Batch, RowValues, Score
    from trainer.core.dataset import Dataset
    from trainer.core.dataset_info import (
        DatasetInfo,
        DensityInfo,
        GraphInfo,
        ImageInfo,
        TableInfo,
        TargetInfo,
        TextInfo,
    )
    from trainer.core.metric import Metric
    from trainer.core.split import FullBatchSplit, Split, TensorSplit
    from trainer.core.task import Task
    from trainer.core.types import (
        DataPath,
        Decay,
        Fraction,
        NonNegativeFloat,
        NonNegativeInt,
        PositiveFloat,
        PositiveInt,
        Probability,
        Thousands,
    )
    from trainer.data.augment.image_augment import Augment
    from trainer.data.reference import baselines
    from trainer.data.splits.splitting import split_by_order
    from trainer.engine.callbacks import Callback
    from trainer.inference.trained_model import TrainedModel
    from trainer.optim.lr_schedules import LRSchedule
    from trainer.runs.results import Result
    from trainer.tasks.base.scored_task import ScoredTask
    from trainer.utils.errors import ConfigError, DataError
    from trainer.viz.loggers.logger import Logger

    __version__: str

__all__ = [
    "Augment",
    "Batch",
    "Callback",
    "Config",
    "ConfigError",
    "DataError",
    "DataPath",
    "Dataset",
    "DatasetInfo",
    "Decay",
    "DensityInfo",
    "Fraction",
    "FullBatchSplit",
    "GraphInfo",
    "ImageInfo",
    "LRSchedule",
    "Logger",
    "Metric",
    "NonNegativeFloat",
    "NonNegativeInt",
    "PositiveFloat",
    "PositiveInt",
    "Probability",
    "Result",
    "RowValues",
    "Score",
    "ScoredTask",
    "Split",
    "TableInfo",
    "TargetInfo",
    "Task",
    "TensorSplit",
    "TextInfo",
    "Thousands",
    "TrainedModel",
    "__version__",
    "baselines",
    "build",
    "compose",
    "load",
    "rng",
    "run",
    "split_by_order",
]

_MODULES = {
    "trainer.config.run_config": ("Config",),
    "trainer.core": ("rng",),
    "trainer.core.batch": ("Batch", "RowValues", "Score"),
    "trainer.core.dataset": ("Dataset",),
    "trainer.core.dataset_info": (
        *("DatasetInfo", "DensityInfo", "GraphInfo", "ImageInfo", "TableInfo", "TargetInfo", "TextInfo"),
    ),
    "trainer.core.metric": ("Metric",),
    "trainer.core.split": ("FullBatchSplit", "Split", "TensorSplit"),
    "trainer.core.task": ("Task",),
    "trainer.core.types": (
        *("DataPath", "Decay", "Fraction", "NonNegativeFloat", "NonNegativeInt", "PositiveFloat", "PositiveInt"),
        *("Probability", "Thousands"),
    ),
    "trainer.data.augment.image_augment": ("Augment",),
    "trainer.data.reference": ("baselines",),
    "trainer.data.splits.splitting": ("split_by_order",),
    "trainer.engine.callbacks": ("Callback",),
    "trainer.inference.trained_model": ("TrainedModel",),
    "trainer.optim.lr_schedules": ("LRSchedule",),
    "trainer.runs.results": ("Result",),
    "trainer.tasks.base.scored_task": ("ScoredTask",),
    "trainer.utils.errors": ("ConfigError", "DataError"),
    "trainer.viz.loggers.logger": ("Logger",),
}
"""Exported names by the module that defines them, which is imported when a name is first used."""


def __getattr__(name: str) -> Any:
    import importlib

    if name == "__version__":
        value: Any = _read_version()
    else:
        module = next((module for module, names in _MODULES.items() if name in names), None)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        parent = importlib.import_module(module)
        value = getattr(parent, name) if hasattr(parent, name) else importlib.import_module(f"{module}.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _read_version() -> str:
    """Return the installed version, or ``0+unknown`` for a checkout that is only on the path."""
    from importlib import metadata

    try:
        return metadata.version("train-zoo")
    except metadata.PackageNotFoundError:
        return "0+unknown"


def compose(overrides: Sequence[str] = (), config_dir: str | Path | None = None) -> Config:
    """Compose and validate the configuration of a command line.

    Args:
        overrides: Overrides of the command line, such as ``["model=lstm", "epochs=3"]``.
        config_dir: Directory with your own YAML files.

    Raises:
        ConfigError: The configuration is invalid; all problems are listed.
        TypeError: The overrides are a string instead of a list of strings.
    """
    if isinstance(overrides, str):
        raise TypeError(f"overrides must be a list of strings, such as [{overrides!r}], not a string")
    from trainer.config import compose as config
    from trainer.config.hydra_compose import preserve_hydra_state

    with preserve_hydra_state():
        return config.compose(overrides, [] if config_dir is None else [Path(config_dir)])


def build(config: Config) -> tuple[Dataset, Task]:
    """Build the data set and the task with its model (``task.model``), with weights initialized from ``seed``.

    The global random state is restored afterwards.

    Args:
        config: Result of ``compose``.

    Raises:
        ConfigError: The data cannot be read, it asks for an ensemble, or a run is active in another thread.
        TypeError: The argument is not a configuration.
    """
    _check_config(config)
    from trainer.config import ensemble_keys, plugins
    from trainer.core import rng

    with rng.preserve_global_state():
        from trainer.engine import dataset_loading, factory  # here, because imports may draw random numbers
        from trainer.engine.config_errors import explain_errors

        plugins.declare_plugins(config.settings.plugins, Path(config.working_dir))
        ensemble_keys.check_is_one_model(config.settings, "leave it out")
        data = dataset_loading.load_dataset(config)
        rng.seed_everything(config.settings.seed)
        with explain_errors(config.tree, "model"):
            return data, factory.make_task(config.tree, data, config.names)


def run(config: Config, *, quiet: bool = False) -> Result:
    """Train, validate and test, and write a run directory, as the command line does.

    Random states, number of threads, signal handlers and memory settings of the process are restored afterwards. It
    may be called from any thread; outside the main thread, Ctrl-C does not stop it.

    Args:
        config: Result of ``compose``.
        quiet: Print nothing to the terminal.

    Raises:
        ConfigError: The configuration does not fit the data, another run is active in another thread, or torchrun has
            started this program: ``torchrun -m trainer`` trains one run, and ``devices`` starts processes by itself.
        TypeError: The argument is not a configuration.
    """
    _check_config(config)
    from trainer.config import parallel_keys
    from trainer.core import rng

    parallel_keys.check_not_launched()

    with rng.preserve_global_state():
        from trainer.engine import device  # here, because imports may draw random numbers
        from trainer.runs import train
        from trainer.viz.console import silence_console

        with silence_console(quiet=quiet):
            try:
                return train.run(config)
            finally:
                device.keep_freed_memory(keep=False)


def load(run: str | Path, device: str = "auto", plugins: Sequence[str] = ()) -> TrainedModel:
    """Load the model of a saved run, to predict, forecast, sample or embed rows.

    It needs neither the training data nor Hydra, and leaves random states and the number of threads as they are.

    Args:
        run: Run directory, such as ``outputs/latest``, or hub folder of ``train export format=hub``.
        device: Device of the model: ``auto``, ``cpu``, ``cuda``, ...
        plugins: Modules of your own classes that the run was trained with.

    Raises:
        ConfigError: The directory is not that of a run, or its files belong to different runs.
    """
    from trainer.inference import trained_model

    return trained_model.load(Path(run).expanduser(), device, plugins)


def _check_config(config: object) -> None:
    from trainer.config.run_config import Config

    if not isinstance(config, Config):
        raise TypeError(f"config must be the result of trainer.compose, not a {type(config).__name__}")
