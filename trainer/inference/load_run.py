"""Loading of a saved run: its task with the best weights, and its data set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from trainer.config.run_config import Config
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine import dataset_loading, device, ensemble
from trainer.engine.config_errors import explain_errors
from trainer.inference.weights_file import find_weights, load_weights
from trainer.runs import consistency, hub_folder
from trainer.utils.errors import ConfigError, UserError


def load_run(config: Config, *, reads_files: bool = True, to_score: bool = False) -> tuple[Task, Dataset]:
    """Load the task of a saved run with its best weights, in evaluation mode, and its data as encoded in training.

    Prepares the process for a command: number of threads, memory, warnings on the terminal.

    Args:
        config: Configuration of the run, from ``saved_run.load``.
        reads_files: Read the files of the data set; otherwise it is restored from the checkpoint.
        to_score: Attach the feature network of sample metrics, if the run has one.

    Raises:
        ConfigError: The files in the run directory belong to different runs, or the data has changed.
    """
    from trainer.viz.console import show_warnings

    best = load_weights(config)
    torch.set_num_threads(1)  # as in training: more threads add the numbers of a data set in another order
    device.keep_freed_memory()
    with show_warnings():
        data = load_data(config, best, reads_files=reads_files)
    torch.set_num_threads(config.settings.threads or best["run_metadata"]["threads"])
    if to_score:
        _attach_feature_network(config, best, data)
    with show_warnings():
        target_device = device.select_available_device(config.settings.device)
        return load_task(config, best, data).to(target_device), data


def load_data(config: Config, best: Mapping[str, Any], *, reads_files: bool) -> Dataset:
    """Load the data set of a saved run with its preprocessing.

    Args:
        config: Configuration of the run.
        best: Checkpoint of its best weights.
        reads_files: Read the files of the data set; otherwise it is restored from the checkpoint.

    Raises:
        ConfigError: The data has changed or cannot be read.
    """
    load = dataset_loading.reload_dataset if reads_files else dataset_loading.restore_dataset
    with _refuse_invalid_values(config):
        return load(config, best["data"])


def load_task(config: Config, best: Mapping[str, Any], data: Dataset) -> Task:
    """Build the task of a saved run with its best weights and decisions, on the CPU and in evaluation mode.

    Args:
        config: Configuration of the run.
        best: Checkpoint of its best weights.
        data: Its data set.

    Raises:
        ConfigError: The weights do not fit the model, or the decisions do not fit the task.
        SystemFault: The model does not fit in memory.
    """
    with _refuse_invalid_values(config), device.explain_model_memory(), explain_errors(config.tree, "model"):
        task = ensemble.make_task(config.tree, data, config.names, best["run_metadata"].get("architecture"))
    file = find_weights(config)
    consistency.load_weights(task, best, file)
    consistency.load_decisions(task, best, file)
    return task.eval()


@contextmanager
def _refuse_invalid_values(config: Config) -> Iterator[None]:
    """Convert errors inside the block, which are caused by the values of a hub folder that anyone can have written.

    Those of a run directory are the values that this package has saved, so that an error is its own.

    Raises:
        ConfigError: The values of a hub folder are not those of a run.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        path = Path(config.run_dir)
        if not hub_folder.is_hub_folder(path):
            raise
        reason = next(iter(str(error).splitlines()), "")[:200]
        raise ConfigError(f"{path}: its values are not those of a run ({type(error).__name__}: {reason})") from error


def _attach_feature_network(config: Config, best: Mapping[str, Any], data: Dataset) -> None:
    """Attach the feature network of sample metrics, which may have to be trained."""
    from trainer.runs import fid_feature_network
    from trainer.runs.resume import with_saved_fingerprint
    from trainer.runs.train import train_nested_run

    fid_feature_network.attach_feature_extractor(with_saved_fingerprint(config, best), data, train_nested_run)
