"""Rows that a model made, beside real ones: every score that applies to what the data knows of itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.dataset import Dataset, Split
from trainer.metrics import sample_quality
from trainer.metrics.distances import energy_distance, mode_coverage

MAX_COPY_QUERIES = 500
"""Rows that are looked up among the training rows: each costs a distance to all of them."""
MAX_CACHED_ELEMENTS = 1 << 27
"""Numbers of training rows that are kept to look for copies: 512 MB."""


class SampleMetrics:
    """What made rows are compared with: the real rows of a data set, its modes, a classifier of its rows."""

    def __init__(self, data: Dataset):
        self.data = data
        self._training_rows: Tensor | None = None

    def __call__(self, made: Tensor, real: Tensor, label: Tensor | None) -> dict[str, float]:
        """Scores of rows (N, ...) beside as many real ones, as the data has them; of the classes (N,) they should have.

        ``label_accuracy`` is the share that the classifier, or else the nearest mode, takes for what it should be.
        """
        facts, flat, real = self.data.info, made.flatten(1), real.to(made)
        found = {"energy_distance": energy_distance(flat, real.flatten(1))}
        told: Tensor | None = None
        if facts.modes is not None:
            centres = facts.modes.to(flat)
            found |= mode_coverage(flat, centres, facts.mode_sigma)
            told = torch.cdist(flat, centres).argmin(1)
        if facts.classifier is not None:
            (features, told), (others, _) = (facts.classifier(rows) for rows in (made, real))
            found["frechet"] = sample_quality.frechet_distance(features, others)
            found["precision"], found["recall"] = sample_quality.precision_recall(features, others)
        if label is not None and told is not None:
            found["label_accuracy"] = float((told == label.to(told)).double().mean())
        looked_at = flat[subsample_indices(len(flat), MAX_COPY_QUERIES)]
        return found | {"copies": sample_quality.copy_fraction(looked_at, self.get_training_rows().to(made))}

    def get_training_rows(self) -> Tensor:
        """Training rows (M, D) as the data has them, evenly chosen where there are too many."""
        if self._training_rows is None:
            train, numbers = self.data.train, math.prod(self.data.input_shapes()["x"])
            self._training_rows = (
                load_rows(train, subsample_indices(len(train), MAX_CACHED_ELEMENTS // numbers)).inputs["x"].flatten(1)
            )
        return self._training_rows

    def sample_gaussian(self, count: int) -> Tensor:
        """As many rows of the one Gaussian that fits the training rows, as the data has them."""
        drawn = sample_quality.sample_gaussian(self.get_training_rows(), count).view(-1, *self.data.input_shapes()["x"])
        if self.data.info.bounds is None:
            return drawn
        black, white = (torch.tensor(list(end)).view(-1, 1, 1) for end in self.data.info.bounds)
        return drawn.clamp(black, white)


def subsample_indices(rows: int, count: int) -> Tensor:
    """At most ``count`` of so many rows, evenly spread."""
    return torch.arange(rows) if rows <= count else torch.arange(count) * rows // count


def load_rows(split: Split, index: Tensor) -> Batch:
    """Rows of a split as a model is given them, on the CPU."""
    return split.to_model_inputs(split.batch(index, 0))
