"""Loading of a saved run: its task with the best weights, and its data set."""

from __future__ import annotations

from pathlib import Path

import torch

from trainer.config.compose import Config
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine import checkpoint, dataset_loading, device, factory
from trainer.runs import consistency, fid_feature_network
from trainer.runs import train as runner
from trainer.runs.run_setup import with_saved_fingerprint
from trainer.viz.console import show_warnings


def load_run(kept: Config, *, reads_files: bool = True, to_score: bool = False) -> tuple[Task, Dataset]:
    """Load the task of a saved run with its best weights, in evaluation mode, and its data as encoded in training.

    Args:
        kept: the configuration, from ``saved_run.load``.
        reads_files: read the data from its files rather than from the run alone.
        to_score: attach the classifier that generated rows are compared by, if the run has one.

    Raises:
        ConfigError: if the files of the run directory are not of one run, or the data has changed.
    """
    file = Path(kept.run_dir) / checkpoint.BEST
    best = consistency.load_best(Path(kept.run_dir))
    torch.set_num_threads(kept.settings.threads or best["about"]["threads"])
    device.keep_freed_memory()
    with show_warnings():
        data = (dataset_loading.reload_dataset if reads_files else dataset_loading.restore_dataset)(kept, best["data"])
    if to_score:
        fid_feature_network.attach_feature_extractor(with_saved_fingerprint(kept, best), data, runner.train_nested_run)
    with show_warnings():
        where = device.select_available_device(kept.settings.device)
    task = factory.make_task(kept.tree, data, kept.names).to(where)
    consistency.load_weights(task, best, file)
    return task.eval(), data
