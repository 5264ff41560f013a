"""Sample quality: metrics of generated rows against real rows."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.split import Split
from trainer.metrics import gaussian
from trainer.metrics.distances import energy_distance, mode_coverage
from trainer.metrics.fid import frechet_distance
from trainer.metrics.memorization import copy_fraction
from trainer.metrics.precision_recall import precision_recall

MAX_COPY_QUERIES = 500
"""Generated rows that are checked for copies of training rows, as each is compared with all training rows."""
MAX_CACHED_ELEMENTS = 1 << 27
"""Maximum number of cached training values for the copy check (512 MB in float32)."""


class SampleMetrics:
    """Metrics of generated rows against the real rows, modes and classifier of a data set.

    Args:
        data: Data set whose training rows are used for the check for copies.
    """

    def __init__(self, data: Dataset):
        self.data = data
        self._training_rows: Tensor | None = None

    def __call__(self, generated: Tensor, real: Tensor, label: Tensor | None) -> dict[str, float]:
        """Return the metrics of generated rows, by name.

        Args:
            generated: Generated rows (N, ...) in the range of the data.
            real: Real rows (N, ...).
            label: Labels (N,) that the rows were generated for. ``label_accuracy`` is the fraction of rows that the
                classifier, or else the nearest mode, assigns to their label. None for an unconditional model.
        """
        info, flat, real = self.data.info, generated.flatten(1), real.to(generated)
        scores = {"energy_distance": energy_distance(flat, real.flatten(1))}
        predicted: Tensor | None = None
        if info.density.modes is not None:
            centers = info.density.modes.to(flat)
            scores |= mode_coverage(flat, centers, info.density.mode_sigma)
            predicted = torch.cdist(flat, centers).argmin(1)
        if info.classifier is not None:
            features, predicted = info.classifier(generated)
            real_features, _ = info.classifier(real)
            scores["frechet"] = frechet_distance(features, real_features)
            scores["precision"], scores["recall"] = precision_recall(features, real_features)
        if label is not None and predicted is not None:
            scores["label_accuracy"] = float((predicted == label.to(predicted)).double().mean())
        queries = flat[subsample_indices(len(flat), MAX_COPY_QUERIES)]
        return scores | {"copies": copy_fraction(queries, self.get_training_rows().to(generated))}

    def get_training_rows(self) -> Tensor:
        """Return training rows (M, D) in the range of the data, evenly subsampled if there are too many."""
        if self._training_rows is None:
            train, features = self.data.train, math.prod(self.data.input_shapes()["x"])
            self._training_rows = load_subsample(train, MAX_CACHED_ELEMENTS // features).inputs["x"].flatten(1)
        return self._training_rows

    def sample_gaussian(self, count: int) -> Tensor:
        """Sample rows of a Gaussian fitted to the training rows, in the range of the data."""
        samples = gaussian.sample_gaussian(self.get_training_rows(), count).view(-1, *self.data.input_shapes()["x"])
        if self.data.info.image.bounds is None:
            return samples
        black, white = (torch.tensor(list(end)).view(-1, 1, 1) for end in self.data.info.image.bounds)
        return samples.clamp(black, white)


def subsample_indices(rows: int, count: int) -> Tensor:
    """Return evenly spaced row numbers, at most ``count``, int64.

    Args:
        rows: Number of rows to select from.
        count: Maximum number of selected rows.
    """
    return torch.arange(rows) if rows <= count else torch.arange(count) * rows // count


def load_subsample(split: Split, count: int) -> Batch:
    """Return a batch of evenly spaced rows of a split, on the CPU.

    Args:
        split: Split to read.
        count: Maximum number of rows.
    """
    return load_rows(split, subsample_indices(len(split), count))


def load_rows(split: Split, index: Tensor) -> Batch:
    """Return a batch of rows of a split, on the CPU.

    Args:
        split: Split to read.
        index: Row numbers (B,), int64.
    """
    return split.to_model_inputs(split.batch(index, 0))
