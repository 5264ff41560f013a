"""Loading of a saved run: its task with the best weights, and its data set."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.config.compose import Config
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine import checkpoint, dataset_loading, device, factory
from trainer.engine.config_errors import explain_errors
from trainer.runs import consistency, fid_feature_network
from trainer.runs.resume import with_saved_fingerprint
from trainer.runs.train import train_nested_run
from trainer.viz.console import show_warnings


def load_run(config: Config, *, reads_files: bool = True, to_score: bool = False) -> tuple[Task, Dataset]:
    """Load the task of a saved run with its best weights, in evaluation mode, and its data as encoded in training.

    Args:
        config: Configuration of the run, from ``saved_run.load``.
        reads_files: Read the files of the data set; otherwise it is restored from the checkpoint.
        to_score: Attach the feature network of sample metrics, if the run has one.

    Raises:
        ConfigError: The files in the run directory belong to different runs, or the data has changed.
    """
    file = Path(config.run_dir) / checkpoint.BEST
    best = consistency.load_best(Path(config.run_dir))
    torch.set_num_threads(config.settings.threads or best["run_metadata"]["threads"])
    device.keep_freed_memory()
    with show_warnings():
        data = (dataset_loading.reload_dataset if reads_files else dataset_loading.restore_dataset)(
            config, best["data"]
        )
    if to_score:
        fid_feature_network.attach_feature_extractor(with_saved_fingerprint(config, best), data, train_nested_run)
    with show_warnings():
        target_device = device.select_available_device(config.settings.device)
    with explain_errors(config.tree, "model"):
        task = factory.make_task(config.tree, data, config.names).to(target_device)
    consistency.load_weights(task, best, file)
    return task.eval(), data
