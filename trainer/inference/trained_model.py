"""The model of a saved run as a Python object: ``trainer.load(RUN)``.

It imports neither Hydra nor rich and needs no training data, so that it loads in little more than the time of torch.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from trainer.config.introspection import Parameter
from trainer.config.run_config import Config
from trainer.core import artifacts, prediction, rng
from trainer.core.dataset import Dataset
from trainer.core.prediction_columns import Column
from trainer.core.split import Split
from trainer.core.task import Sampler, Task
from trainer.engine import device, evaluation, factory
from trainer.engine.dataloader import Loader
from trainer.inference import embedding, load_run, method_options, row_inputs
from trainer.inference.best_rows import Predicted, select_best
from trainer.inference.inference_errors import explain_inference_errors
from trainer.runs import consistency, saved_run
from trainer.utils.errors import ConfigError
from trainer.utils.text import join_names


class TrainedModel:
    """Trained model with everything that its run learned about the data.

    Rows are given as the path of a file or folder like those of the training data, or as objects: a data frame, a list
    of dicts, arrays, texts, images or graphs. Methods may be called from several threads, one after the other.

    Args:
        config: Configuration of the run.
        task: Its task with the best weights.
        data: Its data set, restored from the run.

    Attributes:
        task: The task; ``task.model`` is the network.
        data: The data set: ``info`` has sizes, class names and units.
        config: Configuration of the run.
    """

    def __init__(self, config: Config, task: Task, data: Dataset):
        self.config = config
        self.task = task
        self.data = data
        self._lock = threading.RLock()
        _prepare_after_fork(weakref.ref(self))

    def __repr__(self) -> str:
        names, classes = self.config.names, self.class_names
        shown = f"; classes: {join_names(classes)}" if classes else ""
        return f"<{type(self).__name__}: {names['model']} on {names['data']}{shown}>"

    def _prepare_forked_process(self) -> None:
        """Make the model usable in a forked process, such as a web worker, which has none of the threads of its parent.

        A lock that another thread held would stay locked, and the thread pool of OpenMP would be waited for.
        """
        self._lock = threading.RLock()
        torch.set_num_threads(1)

    @property
    def class_names(self) -> Sequence[str]:
        """Names of the classes, in the order of ``predict_proba``; empty for a model of numbers."""
        return self.data.info.class_names

    def predict(self, rows: Any, batch_size: int | None = None, **options: Any) -> Any:
        """Return the prediction of each row: its class name, its number in the original units, or its text.

        Args:
            rows: Path, or rows in memory.
            batch_size: Rows per batch; None for that of evaluation.
            options: Options of ``train predict`` for this run, such as ``beam_size``.

        Returns:
            Array (K,) or, for several numbers per row, (K, ...); a list if rows differ in length. For segmentation a
            list with the pixels (H, W) of the mask of each image, in the encoding of the training masks.

        Raises:
            ConfigError: The rows cannot be encoded, or the model makes no predictions.
        """
        parts = [fields for fields, _ in self._predict_splits(rows, batch_size, options)]
        if self.data.has_label_maps(parts[0]):
            return [mask for part in parts for mask in self.data.decode_masks(part["label"])]
        name = next(iter(parts[0]))
        joined = prediction.concatenate([{name: part[name]} for part in parts])
        columns = list(prediction.decode(joined, self.data.info).values())
        cells = columns[0] if len(columns) == 1 else np.stack([np.asarray(column) for column in columns], axis=-1)
        is_ragged = isinstance(cells, list) and any(isinstance(cell, list) for cell in cells)
        return cells if is_ragged or isinstance(cells, np.ndarray) else np.array(cells)

    def predict_proba(self, rows: Any, batch_size: int | None = None) -> np.ndarray:
        """Return the probability (K, C, ...) of each class, in the order of ``class_names``.

        Args:
            rows: Path, or rows in memory.
            batch_size: Rows per batch; None for that of evaluation.

        Raises:
            ConfigError: The rows cannot be encoded, or the model has no classes.
        """
        parts = [fields for fields, _ in self._predict_splits(rows, batch_size, {})]
        if "probabilities" not in parts[0]:
            what = "masks, without their probabilities" if self.data.has_label_maps(parts[0]) else "no classes"
            raise ConfigError(f"predict_proba: the task of this run predicts {what}; use predict")
        return np.concatenate([part["probabilities"].numpy() for part in parts])

    def predict_columns(self, rows: Any, batch_size: int | None = None, **options: Any) -> dict[str, Column]:
        """Return the columns that ``train predict`` writes, for ``pandas.DataFrame``.

        Args:
            rows: Path, or rows in memory.
            batch_size: Rows per batch; None for that of evaluation.
            options: Options of ``train predict`` for this run, such as ``rolling``.

        Returns:
            Cells (K) of each column, by title; rows in memory are numbered from 0, those of a table file from 1. Masks
            are arrays (H, W) of pixels.

        Raises:
            ConfigError: The rows cannot be encoded, or the model makes no predictions.
        """
        parts: list[dict[str, Column]] = []
        first = 0
        for fields, split in self._predict_splits(rows, batch_size, options):
            parts.append(self.data.decode_prediction(fields, split, first).embed_images())
            first += len(split)
        if len(parts) == 1:
            return parts[0]
        return {
            name: np.concatenate([np.asarray(part[name]) for part in parts])
            if isinstance(parts[0][name], np.ndarray)
            else [cell for part in parts for cell in part[name]]
            for name in parts[0]
        }

    def forecast(self, history: Any, **options: Any) -> dict[str, Column]:
        """Return the forecast of the steps after a history, with their time stamps if it has any.

        Args:
            history: Path of a file, data frame or array (T, F) with at least the number of steps that the model reads.
            options: Options of ``train predict`` for this run, such as ``rolling``.

        Returns:
            Cells of each column, by title, in the original units.

        Raises:
            ConfigError: The history cannot be encoded, or this is not a model of forecasts.
        """
        if "horizon" not in self.data.info.sizes:
            raise ConfigError("forecast: the task of this run makes no forecasts; use predict")
        return self.predict_columns(history, **options)

    def sample(self, count: int | None = None, **options: Any) -> Any:
        """Return samples of a generative model.

        Args:
            count: Number of samples; None for the default of ``train sample``.
            options: Options of ``train sample`` for this run, such as ``seed`` or ``prompt``.

        Returns:
            Text, an array (N, ...), or the cells of each column of a table, by title.

        Raises:
            ConfigError: The model does not generate samples, or has no such option.
        """
        chosen = options if count is None else {"count": count, **options}
        method_options.check_options("sample", chosen, self._find_task_options("sample"))
        with self._prepare_process():
            pieces = list(cast(Sampler, self.task).sample(**chosen))
        for piece in pieces:
            if isinstance(piece, artifacts.ArrayFile):
                return piece.values.numpy()
            if isinstance(piece, artifacts.Table):
                return dict(zip(piece.columns, map(list, zip(*piece.rows, strict=True)), strict=True))
        return "".join(piece for piece in pieces if isinstance(piece, str))

    def embed(self, rows: Any, batch_size: int | None = None) -> np.ndarray:
        """Return the features of each row: the input of the last layer of the model.

        Args:
            rows: Path, or rows in memory.
            batch_size: Rows per batch; None for that of evaluation.

        Returns:
            Features (K, D).

        Raises:
            ConfigError: The rows cannot be encoded, or the model has no layer with weights.
        """
        parts = []
        with self._prepare_process():
            for split in row_inputs.iter_splits(self.config.tree, self.data, rows, {}):
                parts.append(embedding.embed_rows(self.task, self._make_loader(split, batch_size), self.data.shapes))
        return torch.cat(parts).numpy()

    def to(self, device_name: str) -> TrainedModel:
        """Move the model to a device.

        Args:
            device_name: Such as ``cpu`` or ``cuda``.

        Raises:
            ConfigError: This machine has no such device.
        """
        method_options.check_device(device_name)
        self.task.to(device.select_available_device(device_name))
        return self

    def _predict_splits(self, rows: Any, batch_size: int | None, options: Mapping[str, Any]) -> Iterator[Predicted]:
        """Yield the predictions of each chunk of rows, without their targets, and the chunk."""
        return select_best(self._predict_chunks(rows, batch_size, options))

    def _predict_chunks(self, rows: Any, batch_size: int | None, options: Mapping[str, Any]) -> Iterator[Predicted]:
        predict_keys = self._find_task_options("predict")
        read_keys, file_keys = row_inputs.find_options(self.config.tree, rows)
        method_options.check_options("predict", options, read_keys | predict_keys, file_keys)
        read_options = {key: options[key] for key in read_keys.keys() & options.keys()}
        with self._prepare_process():
            for split in row_inputs.iter_splits(self.config.tree, self.data, rows, read_options):
                fields = evaluation.predict_rows(
                    self.task,
                    self._make_loader(split, batch_size),
                    self.config.settings,
                    {key: options[key] for key in predict_keys.keys() & options.keys()},
                )
                yield {name: values for name, values in fields.items() if name != "target"}, split

    def _find_task_options(self, verb: str) -> dict[str, Parameter]:
        return method_options.find_task_options(self.config.tree["task"]["_target_"], verb)

    def _make_loader(self, split: Split, batch_size: int | None) -> Loader:
        method_options.check_batch_size(batch_size)
        settings = replace(self.config.settings, num_workers=0)
        return factory.make_eval_loader(
            self.data, split, "input", settings, self.task.progress.device, batch_size, sort_by_length=True
        )

    @contextmanager
    def _prepare_process(self) -> Iterator[None]:
        """Hold the lock, keep the random generators of the caller, and explain errors of the model."""
        with self._lock, rng.preserve_generators(), explain_inference_errors(self.config.tree):
            yield


def _prepare_after_fork(reference: weakref.ref[TrainedModel]) -> None:
    """Prepare a model in every process that is forked from this one, for as long as it is used."""

    def prepare() -> None:
        model = reference()
        if model is not None:
            model._prepare_forked_process()

    os.register_at_fork(after_in_child=prepare)


def load(path: Path, device_name: str, plugins: Sequence[str] = ()) -> TrainedModel:
    """Load the model of a saved run.

    Args:
        path: Run directory or hub folder.
        device_name: Device of the model, such as ``cpu``, ``cuda`` or ``auto``.
        plugins: Plugins of the run that may be imported.

    Raises:
        ConfigError: The directory is not that of a run, or its files belong to different runs.
    """
    return load_from_config(saved_run.load(path, plugins), device_name)


def load_from_config(config: Config, device_name: str | None = None) -> TrainedModel:
    """Load the model of a saved run from its configuration.

    Args:
        config: Configuration of the run, from ``saved_run.load``.
        device_name: Device of the model; None for that of the configuration.

    Raises:
        ConfigError: The files of the run directory belong to different runs.
    """
    method_options.check_device(device_name or config.settings.device)
    with rng.preserve_generators():
        best = consistency.load_best(Path(config.run_dir))
        data = load_run.load_data(config, best, reads_files=False)
        task = load_run.load_task(config, best, data)
    target_device = device.select_available_device(device_name or config.settings.device)
    return TrainedModel(config, task.to(target_device), data)
