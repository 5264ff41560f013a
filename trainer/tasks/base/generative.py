"""Base class of generative tasks: conditioning, range of values, sampling and sample quality."""

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
from trainer.core.types import NonNegativeInt, PluginMetric, PositiveInt
from trainer.metrics.computed import as_computed_metric, check_unique_names
from trainer.tasks.base.model_protocols import get_num_classes
from trainer.tasks.base.sampling_task import SamplingTask
from trainer.tasks.evaluation.sample_metrics import SampleMetrics, load_subsample, subsample_indices
from trainer.utils.errors import ConfigError

GENERATION_BATCH_SIZE = 1024
"""Maximum number of rows generated at once."""
PREVIEW_IMAGES, PREVIEW_POINTS = 40, 1000
"""Images or points of a preview."""
SCORE_SEED = 0
"""Seed of ``draw_score_noise``."""
GRID_COLUMNS, MAX_GRID_IMAGES = 10, 400
"""Columns and maximum number of images of an image grid."""


class GenerativeOptions(TypedDict, total=False):
    """Options of all generative tasks.

    Attributes:
        samples: Number of rows generated for evaluation.
        classifier: Feature extractor for evaluation. ``runs.fid_feature_network`` adds it to the ``DatasetInfo`` before
            the task is made, so tasks ignore the option.
        scores: Metrics of plugins that compare generated and real rows.
    """

    samples: PositiveInt
    classifier: str | None
    scores: NotRequired[Sequence[PluginMetric]]


def draw_score_noise(*shape: int) -> Tensor:
    """Return Gaussian noise, the same in every call, so that the score of a row does not depend on its batch.

    Args:
        shape: Shape of the noise, which all rows share.
    """
    return torch.randn(shape, generator=rng.make_generator(SCORE_SEED))


class Generative(SamplingTask):
    """Base class of tasks that generate rows x (B, ...) like those of the data set.

    Images are normalized to ``value_range``, other data are unchanged. A class-conditional model is a
    ``ConditionalModel`` with a number of classes.

    Generated rows are compared with as many real rows: by energy distance, by coverage of the modes of the data if they
    are known, by Frechet distance, precision and recall in the features of a classifier if there is one, and by the
    metrics of plugins, whose predictions and targets are the generated and the real rows (N, ...).

    Args:
        model: Model to train.
        samples: Number of rows generated for evaluation.
        classifier: Unused, see ``GenerativeOptions``.
        scores: Metrics of plugins.

    Attributes:
        value_range: Range of values that images are normalized to.
        shape: Shape of a row, without the batch dimension.
        is_scaled: Whether rows are normalized, because the data set reports the range of its values.
    """

    option_defaults: ClassVar[GenerativeOptions] = {"samples": 2000, "classifier": "auto", "scores": []}
    value_range: tuple[float, float] = (-1.0, 1.0)

    def __init__(self, model: nn.Module, samples: PositiveInt, classifier: str | None, scores: Sequence[Any] = ()):
        super().__init__(model)
        self.reported_metrics = self.computed_metrics = tuple(map(as_computed_metric, scores))
        check_unique_names(self.computed_metrics)
        self.samples = samples
        self.num_classes = get_num_classes(model)
        self.needs_targets_to_score = self.num_classes is not None
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
            self.display_bounds = [0.0], [1.0]  # as ``to_unit_range`` returns images
            self.low, self.high = (torch.tensor(list(end)).view(-1, 1, 1) for end in data.info.image.bounds)

    @property
    def sample_metrics(self) -> SampleMetrics:
        """Sample metrics on the data set passed to ``setup``."""
        assert self._sample_metrics is not None, "setup must be called before a generative task is scored"
        return self._sample_metrics

    @property
    def is_image_data(self) -> bool:
        """Return whether rows are images (C, H, W)."""
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
        num_data_classes = self.sample_metrics.data.info.sizes.get("num_classes", self.num_classes)
        if num_data_classes != self.num_classes:
            raise ConfigError(f"model.num_classes: {self.num_classes} given; the data has {num_data_classes} classes")

    @abstractmethod
    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return scores (B,) of each row by name, such as the log-likelihood or the reconstruction error."""

    def normalize(self, batch: Batch) -> Tensor:
        """Return the rows (B, ...) of a batch in the range of the model."""
        x = batch.inputs["x"]
        if not self.is_scaled:
            return x
        low_value, high_value = self.value_range
        return low_value + (x - self.low) * ((high_value - low_value) / (self.high - self.low))

    def denormalize(self, x: Tensor) -> Tensor:
        """Return rows x (B, ...) of the model in the range of the data, clamped to its bounds."""
        x = x.float().reshape(-1, *self.shape)
        if not self.is_scaled:
            return x
        low_value, high_value = self.value_range
        scale = (self.high - self.low) / (high_value - low_value)
        return self.low + (x.clamp(low_value, high_value) - low_value) * scale

    def get_labels(self, batch: Batch) -> Tensor | None:
        """Return the labels (B,) of a batch; None for an unconditional model."""
        return None if self.num_classes is None else batch.target

    @torch.no_grad()
    def generate(self, count: int, label: Tensor | None) -> Tensor:
        """Return generated rows (count, ...) in the range of the data, generated in batches.

        Args:
            count: Number of rows.
            label: Labels (count,); None for an unconditional model.

        Raises:
            ConfigError: The model generates rows of another shape than the data.
        """
        parts = []
        for start in range(0, count, GENERATION_BATCH_SIZE):
            labels = None if label is None else label[start : start + GENERATION_BATCH_SIZE].to(self.progress.device)
            samples = self.draw(min(GENERATION_BATCH_SIZE, count - start), labels)
            if samples[0].numel() != math.prod(self.shape):
                raise ConfigError(f"model: generates rows {tuple(samples.shape[1:])}, but the data has {self.shape}")
            parts.append(self.denormalize(samples))
        return torch.cat(parts)

    def collect_real_rows(self, batch: Batch) -> Score:
        """Return the rows and labels of a batch, for ``compare_samples``."""
        rows: Score = {"real": RowValues(batch.inputs["x"])}
        if batch.target is not None:
            rows["label"] = RowValues(batch.target)
        return rows

    def compare_samples(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """Return the sample metrics, by name.

        Args:
            totals: Totals of a split, with the real rows of ``collect_real_rows``.
        """
        real = totals["real"]
        index = subsample_indices(len(real), self.samples)
        label = None if self.num_classes is None else totals["label"][index]
        return self._compare(self.generate(len(index), label), real[index], label)

    def _compare(self, generated: Tensor, real: Tensor, label: Tensor | None) -> dict[str, float]:
        plugin_scores = {metric.name: metric.compute(generated.cpu(), real.cpu()) for metric in self.computed_metrics}
        return self.sample_metrics(generated, real, label) | plugin_scores

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Return sample metrics of a Gaussian fitted to the training rows (baseline) and of validation rows (best)."""
        data, device = self.sample_metrics.data, self.progress.device
        test, val = load_subsample(data.test, self.samples), load_subsample(data.val, self.samples)
        real, label = test.inputs["x"], self.get_labels(val)
        gaussian_label = None if label is None else label[torch.arange(len(real)) % len(label)]
        gaussian = self.sample_metrics.sample_gaussian(len(real)).to(device)
        return self._compare(gaussian, real, gaussian_label), self._compare(val.inputs["x"].to(device), real, label)

    def sample_preview(self) -> Tensor:
        """Return generated rows (N, ...), cycling through the classes; the caller seeds torch."""
        count = PREVIEW_IMAGES if self.is_image_data else PREVIEW_POINTS
        return self.generate(count, self._make_labels(count, None)).cpu()

    def render_preview(self, name: str, snapshots: Sequence[tuple[str, Tensor]]) -> Iterator[Artifact]:
        if not self.is_image_data:
            real = self.sample_metrics.get_training_rows()[:PREVIEW_POINTS]
            yield ScatterPlot(
                name, [(caption, rows.flatten(1)) for caption, rows in snapshots], real, self.info.table.feature_names
            )
            return
        # Several snapshots get one row each.
        max_images = MAX_GRID_IMAGES if len(snapshots) == 1 else GRID_COLUMNS
        tiles = []
        for caption, samples in snapshots:
            for number, image in enumerate(self.to_unit_range(samples[:max_images])):
                tiles.append(ImageTile(image, "" if number else caption, bounds=self.display_bounds))
        yield ImageGrid(name, tiles, GRID_COLUMNS)

    def to_unit_range(self, x: Tensor) -> Tensor:
        """Return images (N, C, H, W) scaled from the range of the data to [0, 1], if the range is known."""
        return (x.cpu() - self.low.cpu()) / (self.high - self.low).cpu() if self.is_scaled else x.cpu()

    def sample(
        self, count: PositiveInt = 64, label: NonNegativeInt | None = None, seed: NonNegativeInt = 0
    ) -> Iterator[str | Artifact]:
        """Yield generated rows as a figure, and as an array or a table.

        Args:
            count: Number of rows.
            label: Class to generate; None cycles through all classes.
            seed: Random seed.

        Raises:
            ConfigError: The model is unconditional or has no such class.
        """
        classes = self._make_labels(count, label)
        name = f"sampled-{seed}" if label is None else f"sampled-{seed}-of-{label}"
        yield from self.to_artifacts(self.generate_seeded(count, classes, seed), name, classes)

    def generate_seeded(self, count: int, label: Tensor | None, seed: int) -> Tensor:
        """Return generated rows (count, ...) in the range of the data, on the CPU.

        Args:
            count: Number of rows.
            label: Labels (count,); None for an unconditional model.
            seed: Random seed; torch's generators are restored afterwards.
        """
        with rng.fork_rng(seed, self.progress.device):
            return self.generate(count, label).cpu()

    def to_artifacts(self, rows: Tensor, name: str, label: Tensor | None = None) -> Iterator[Artifact]:
        """Yield a figure of rows, and a table in the units of the data set if it defines one, otherwise an array.

        Args:
            rows: Rows (N, ...) in the range of the data.
            name: Name of the artifacts.
            label: Labels (N,), for the table.
        """
        yield from self.render_preview(name, [("", rows)])
        if self.info.table.to_table is None:
            yield ArrayFile(name, self.to_unit_range(rows))
        else:
            yield Table(name, *self.info.table.to_table(rows, label))

    def _make_labels(self, count: int, label: int | None) -> Tensor | None:
        """Return labels (count,), constant or cycling through all classes; None for an unconditional model.

        Raises:
            ConfigError: The model is unconditional or has no such class.
        """
        if self.num_classes is None:
            if label is not None:
                raise ConfigError(f"sample label: {label} given; the model of this run is unconditional")
            return None
        if label is not None and label >= self.num_classes:
            raise ConfigError(f"sample label: {label} given; the classes are 0 to {self.num_classes - 1}")
        return torch.arange(count) % self.num_classes if label is None else torch.full((count,), label)
