"""Sample quality of generated rows compared with real ones."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.dataset import Dataset, Split
from trainer.metrics import sample_quality
from trainer.metrics.distances import energy_distance, mode_coverage

MAX_COPY_QUERIES = 500
"""Generated rows checked for copies of training rows; each needs distances to all training rows."""
MAX_CACHED_ELEMENTS = 1 << 27
"""Maximum number of cached training values for the copy check, 512 MB."""


class SampleMetrics:
    """Sample metrics against the real rows, modes and classifier of a data set."""

    def __init__(self, data: Dataset):
        self.data = data
        self._training_rows: Tensor | None = None

    def __call__(self, generated: Tensor, real: Tensor, label: Tensor | None) -> dict[str, float]:
        """Compute the metrics of generated rows (N, ...) against as many real rows, in the range of the data.

        Args:
            generated: generated rows.
            real: real rows.
            label: labels (N,) that the rows were generated for. ``label_accuracy`` is the share of rows that the
                classifier, or else the nearest mode, assigns to their label.
        """
        info, flat, real = self.data.info, generated.flatten(1), real.to(generated)
        scores = {"energy_distance": energy_distance(flat, real.flatten(1))}
        predicted: Tensor | None = None
        if info.density.modes is not None:
            centers = info.density.modes.to(flat)
            scores |= mode_coverage(flat, centers, info.density.mode_sigma)
            predicted = torch.cdist(flat, centers).argmin(1)
        if info.classifier is not None:
            (features, predicted), (real_features, _) = (info.classifier(rows) for rows in (generated, real))
            scores["frechet"] = sample_quality.frechet_distance(features, real_features)
            scores["precision"], scores["recall"] = sample_quality.precision_recall(features, real_features)
        if label is not None and predicted is not None:
            scores["label_accuracy"] = float((predicted == label.to(predicted)).double().mean())
        queries = flat[subsample_indices(len(flat), MAX_COPY_QUERIES)]
        return scores | {"copies": sample_quality.copy_fraction(queries, self.get_training_rows().to(generated))}

    def get_training_rows(self) -> Tensor:
        """Return training rows (M, D) in the range of the data, evenly subsampled if there are too many."""
        if self._training_rows is None:
            train, features = self.data.train, math.prod(self.data.input_shapes()["x"])
            self._training_rows = (
                load_rows(train, subsample_indices(len(train), MAX_CACHED_ELEMENTS // features)).inputs["x"].flatten(1)
            )
        return self._training_rows

    def sample_gaussian(self, count: int) -> Tensor:
        """Sample rows of a Gaussian fitted to the training rows, in the range of the data."""
        samples = sample_quality.sample_gaussian(self.get_training_rows(), count).view(
            -1, *self.data.input_shapes()["x"]
        )
        if self.data.info.image.bounds is None:
            return samples
        black, white = (torch.tensor(list(end)).view(-1, 1, 1) for end in self.data.info.image.bounds)
        return samples.clamp(black, white)


def subsample_indices(rows: int, count: int) -> Tensor:
    """Return evenly spaced row indices, at most ``count``."""
    return torch.arange(rows) if rows <= count else torch.arange(count) * rows // count


def load_rows(split: Split, index: Tensor) -> Batch:
    """Load rows of a split as model inputs on the CPU."""
    return split.to_model_inputs(split.batch(index, 0))
