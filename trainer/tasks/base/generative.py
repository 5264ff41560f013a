"""Base class of generative tasks: conditioning, data ranges, sample quality and sampling."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, NotRequired, TypedDict

import torch
from torch import Tensor, nn

from trainer.core import rng
from trainer.core.artifacts import ArrayFile, Artifact, Bounds, ImageGrid, ImageTile, ScatterPlot, Table
from trainer.core.batch import Batch, RowValues, Score
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.task import Task
from trainer.core.types import NonNegativeInt, PluginMetric, PositiveInt
from trainer.metrics.computed import as_computed_metric, check_names
from trainer.tasks.evaluation.sample_metrics import SampleMetrics, load_rows, subsample_indices
from trainer.utils.errors import ConfigError

GENERATION_BATCH_SIZE = 1024
"""Samples generated per forward pass."""
PREVIEW_IMAGES, PREVIEW_POINTS = 40, 1000
"""Images or points per preview, generated from fixed noise."""
GRID_COLUMNS, MAX_GRID_IMAGES = 10, 400
"""Columns and maximum number of images of an image grid."""


class GenerativeOptions(TypedDict, total=False):
    """Options shared by all generative tasks.

    ``classifier`` is resolved before the task is built (runs/feature_extractor.py) and stored in the ``DatasetInfo``.
    """

    samples: PositiveInt
    classifier: str | None
    scores: NotRequired[Sequence[PluginMetric]]


class Generative(Task):
    """Base class of tasks that generate rows x (B, ...) like those of the data, conditioned on the class if supported.

    Pixels are normalized to ``value_range``; other data are left unchanged. A class-conditional model has an attribute
    ``num_classes``. Sample quality compares ``samples`` generated rows with as many real ones: by energy distance, by
    coverage of the modes of the data, in the features of a classifier trained on the same data, if available, and by
    the plugin metrics in ``scores``, whose predictions and targets are generated and real rows (N, ...).
    """

    option_defaults: ClassVar[GenerativeOptions] = {"samples": 2000, "classifier": "auto", "scores": []}
    value_range: tuple[float, float] = (-1.0, 1.0)

    def __init__(self, model: nn.Module, samples: PositiveInt, classifier: str | None, scores: Sequence[Any] = ()):
        super().__init__(model)
        self.reported_metrics = self.computed_metrics = tuple(map(as_computed_metric, scores))
        check_names(self.computed_metrics)
        self.samples = samples
        self.num_classes: int | None = getattr(model, "num_classes", None)
        self.shape: tuple[int, ...] = ()
        self.info = DatasetInfo(sizes={})
        self._sample_metrics: SampleMetrics | None = None
        for name in ("low", "high"):
            self.register_buffer(name, torch.zeros(()), persistent=False)
        self.is_scaled = False
        self.display_bounds: Bounds | None = None

    def setup(self, data: Dataset) -> None:
        self.info, self._sample_metrics = data.info, SampleMetrics(data)
        self.shape = tuple(data.input_shapes()["x"])
        self.is_scaled = data.info.image.bounds is not None
        self.display_bounds = data.pixel_bounds()
        if data.info.image.bounds is not None:
            self.display_bounds = [0.0], [1.0]  # the range of ``to_unit_range``
            self.low, self.high = (torch.tensor(list(end)).view(-1, 1, 1) for end in data.info.image.bounds)

    @property
    def sample_metrics(self) -> SampleMetrics:
        """Sample metrics on the data passed to ``setup``."""
        assert self._sample_metrics is not None, "setup must be called before a generative task is scored"
        return self._sample_metrics

    @property
    def is_image_data(self) -> bool:
        """Return whether the data are images."""
        return len(self.shape) == 3

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if self.num_classes is None:
            return
        if targets is None or targets.is_floating_point() or targets.dim() != 1:
            raise ConfigError(
                f"model.num_classes: the {split} split has no class labels; set null for an unconditional model"
            )
        if int(targets.max()) >= self.num_classes or int(targets.min()) < 0:
            raise ConfigError(
                f"model.num_classes: {self.num_classes} given; the {split} split has classes {int(targets.min())} to"
                f" {int(targets.max())}"
            )
        known = self.sample_metrics.data.info.sizes.get("num_classes", self.num_classes)
        if known != self.num_classes:
            raise ConfigError(f"model.num_classes: {self.num_classes} given; the data has {known} classes")

    @abstractmethod
    def draw(self, count: int, label: Tensor | None) -> Tensor:
        """Generate rows (count, ...) in the range of the model, given labels (count,) or none.

        Noise comes from torch's global generator.
        """

    @abstractmethod
    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return per-row scores (B,) of how likely each row is under the model."""

    def normalize(self, batch: Batch) -> Tensor:
        """Return the rows x (B, ...) in the range of the model."""
        x = batch.inputs["x"]
        if not self.is_scaled:
            return x
        black, white = self.value_range
        return black + (x - self.low) * ((white - black) / (self.high - self.low))

    def denormalize(self, x: Tensor) -> Tensor:
        """Return model-range rows (B, ...) in the range of the data, clamped to its bounds."""
        x = x.float().reshape(-1, *self.shape)
        if not self.is_scaled:
            return x
        black, white = self.value_range
        return self.low + (x.clamp(black, white) - black) * ((self.high - self.low) / (white - black))

    def get_labels(self, batch: Batch) -> Tensor | None:
        """Return the labels (B,) of a batch, or None for an unconditional model."""
        return None if self.num_classes is None else batch.target

    @torch.no_grad()
    def generate(self, count: int, label: Tensor | None) -> Tensor:
        """Generate rows (count, ...) in the range of the data, in batches."""
        starts = range(0, count, GENERATION_BATCH_SIZE)
        device = self.progress.device
        parts = []
        for start in starts:
            labels = None if label is None else label[start : start + GENERATION_BATCH_SIZE].to(device)
            samples = self.draw(min(GENERATION_BATCH_SIZE, count - start), labels)
            if samples[0].numel() != math.prod(self.shape):
                raise ConfigError(f"model: generates rows {tuple(samples.shape[1:])}, but the data has {self.shape}")
            parts.append(self.denormalize(samples))
        return torch.cat(parts)

    def collect_real_rows(self, batch: Batch) -> Score:
        """Collect the rows and labels of a batch for ``compare_samples``."""
        label = {} if batch.target is None else {"label": RowValues(batch.target)}
        return {"real": RowValues(batch.inputs["x"]), **label}

    def compare_samples(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Compare generated with real rows by the sample metrics."""
        real = totals["real"]
        index = subsample_indices(len(real), self.samples)
        label = None if self.num_classes is None else totals["label"][index]
        return self._compare(self.generate(len(index), label), real[index], label)

    def _compare(self, generated: Tensor, real: Tensor, label: Tensor | None) -> dict[str, float]:
        plugin_scores = {metric.name: metric.compute(generated.cpu(), real.cpu()) for metric in self.computed_metrics}
        return self.sample_metrics(generated, real, label) | plugin_scores

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Score samples of a Gaussian fitted to the training rows (baseline) and real validation rows (best)."""
        data, device = self.sample_metrics.data, self.progress.device
        test, val = (load_rows(split, subsample_indices(len(split), self.samples)) for split in (data.test, data.val))
        real, others, label = test.inputs["x"], val.inputs["x"].to(device), self.get_labels(val)
        gaussian_label = None if label is None else label[torch.arange(len(real)) % len(label)]
        gaussian = self.sample_metrics.sample_gaussian(len(real)).to(device)
        return self._compare(gaussian, real, gaussian_label), self._compare(others, real, label)

    def sample_preview(self) -> Tensor:
        """Generate a preview from fixed noise, cycling through the classes."""
        count = PREVIEW_IMAGES if self.is_image_data else PREVIEW_POINTS
        return self.generate(count, self._make_labels(count, None)).cpu()

    def render_preview(self, name: str, shots: Sequence[tuple[str, Tensor]]) -> Iterator[Artifact]:
        if not self.is_image_data:
            real = self.sample_metrics.get_training_rows()[:PREVIEW_POINTS]
            yield ScatterPlot(
                name, [(caption, rows.flatten(1)) for caption, rows in shots], real, self.info.table.feature_names
            )
            return
        rows = [
            (caption, self.to_unit_range(samples[: MAX_GRID_IMAGES if len(shots) == 1 else GRID_COLUMNS]))
            for caption, samples in shots
        ]
        tiles = [
            ImageTile(image, "" if column else caption, bounds=self.display_bounds)
            for caption, row in rows
            for column, image in enumerate(row)
        ]
        yield ImageGrid(name, tiles, GRID_COLUMNS)

    def to_unit_range(self, x: Tensor) -> Tensor:
        """Scale images (N, C, H, W) from the data range to 0 (black) to 1 (white) if the bounds are known."""
        return (x.cpu() - self.low.cpu()) / (self.high - self.low).cpu() if self.is_scaled else x.cpu()

    def sample(
        self, count: PositiveInt = 64, label: NonNegativeInt | None = None, seed: NonNegativeInt = 0
    ) -> Iterator[str | Artifact]:
        """Generate samples as an image and an array or table, of one class or cycling through all classes."""
        classes = self._make_labels(count, label)
        name = f"sampled-{seed}" if label is None else f"sampled-{seed}-of-{label}"
        yield from self.to_artifacts(self.generate_seeded(count, classes, seed), name, classes)

    def generate_seeded(self, count: int, label: Tensor | None, seed: int) -> Tensor:
        """Generate rows (count, ...) in the range of the data, reproducible by ``seed``."""
        with rng.fork_rng(seed, self.progress.device):
            return self.generate(count, label).cpu()

    def to_artifacts(self, rows: Tensor, name: str, label: Tensor | None = None) -> Iterator[Artifact]:
        """Yield a rendering and a data file of the rows; a table includes their labels (N,), if given."""
        yield from self.render_preview(name, [("", rows)])
        if self.info.table.to_table is None:
            yield ArrayFile(name, self.to_unit_range(rows))
        else:
            yield Table(name, *self.info.table.to_table(rows, label))

    def _make_labels(self, count: int, label: int | None) -> Tensor | None:
        """Return labels (count,), constant or cycling through the classes, or None for an unconditional model.

        Raises:
            ConfigError: a label that the model does not have.
        """
        if self.num_classes is None:
            if label is not None:
                raise ConfigError(f"sample label: {label} given; the model of this run is unconditional")
            return None
        if label is not None and label >= self.num_classes:
            raise ConfigError(f"sample label: {label} given; the classes are 0 to {self.num_classes - 1}")
        return torch.arange(count) % self.num_classes if label is None else torch.full((count,), label)
