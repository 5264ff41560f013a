"""Inspection for ``train show``: layers and feature maps of a saved run, augmented training images."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from trainer.config.run_config import Config
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.task import Task
from trainer.engine import dataset_loading, factory
from trainer.engine.config_errors import explain_errors
from trainer.engine.dataset_state import SplitExcerpt
from trainer.inference.load_run import load_run
from trainer.runs import run_dir
from trainer.utils.errors import ConfigError
from trainer.viz import artifact_writer, feature_maps, model_summary
from trainer.viz.console import show_warnings


def summarize_layers(config: Config) -> list[tuple[str, ...]]:
    """Return name, class, output shape and number of parameters of each layer of the model of a saved run."""
    task, data = load_run(config, reads_files=False)
    batch = data.test.batch(torch.zeros(1, dtype=torch.long), 0).to(task.progress.device)
    layers = model_summary.summarize_layers(task, batch)
    return [
        (layer.name, layer.class_name, str(tuple(layer.output.shape[1:])), f"{layer.num_params:,}") for layer in layers
    ]


def draw_feature_maps(config: Config, layer: str, row: int) -> Path:
    """Draw the feature maps of a layer for a test row in the run directory; return the path of the image.

    Args:
        config: Configuration of the run.
        layer: Name of the layer.
        row: Index of the test row.

    Raises:
        ConfigError: The layer or the row does not exist.
    """
    task, data, batch = _load_test_row(config, row)
    grid = feature_maps.make_feature_maps(task, batch, layer, data.image_inputs(), data.pixel_bounds())
    (path,) = artifact_writer.write_artifacts([grid], Path(config.run_dir), replace=False)
    return path


def _load_test_row(config: Config, row: int) -> tuple[Task, Dataset, Batch]:
    """Load the task of a saved run, its data set, and a batch of one test row.

    The first test rows are in the checkpoint, so that the files of the data set are not needed.
    """
    task, data = load_run(config, reads_files=False)
    if isinstance(data.test, SplitExcerpt) and not data.test.has_row(row):
        task, data = load_run(config)
    test = factory.make_loaders(config.tree, data, config.settings, task.progress.device)["test"]
    if row >= len(test.split):
        raise ConfigError(f"row: {row} given; the test split has rows 0 to {len(test.split) - 1}")
    with explain_errors(config.tree, "data"):
        return task, data, test.load_rows(torch.tensor([row]))


def draw_samples(config: Config, count: int) -> Path:
    """Draw training images without augmentation and as augmented in the first epochs; return the path of the figure.

    Args:
        config: Configuration with the data set and augmentation.
        count: Number of training rows.
    """
    with show_warnings():
        data = dataset_loading.load_dataset(config)
    train = factory.make_loaders(config.tree, data, config.settings, torch.device("cpu"))["train"]
    with explain_errors(config.tree, "data"):
        grid = feature_maps.make_sample_grid(
            train, min(count, len(train.split)), data.info.class_names, data.pixel_bounds()
        )
    (path,) = artifact_writer.write_artifacts(
        [replace(grid, name=f"samples-{config.names['data']}")], run_dir.make_runs_root(), replace=False
    )
    return path
