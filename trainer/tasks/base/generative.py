"""What all tasks share that learn to make rows like those of the data: conditions, scales, comparison, samples."""

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
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.task import Task
from trainer.core.types import NonNegativeInt, PluginMetric, PositiveInt
from trainer.metrics.computed import as_computed_metric, check_names
from trainer.tasks.evaluation.sample_metrics import SampleMetrics, load_rows, subsample_indices
from trainer.utils.errors import ConfigError

GENERATION_BATCH_SIZE = 1024
"""Rows a model makes at a time."""
PREVIEW_IMAGES, PREVIEW_POINTS = 40, 1000
"""How many pictures or points are drawn from the same noise to watch progress."""
GRID_COLUMNS, MAX_GRID_IMAGES = 10, 400
"""Pictures side by side, and on a sheet."""


class GenerativeOptions(TypedDict, total=False):
    """The configuration every generative task shares.

    ``classifier`` is read before the task is built (trainer/classifier.py); what came of it stands in the data's facts.
    """

    samples: PositiveInt
    classifier: str | None
    scores: NotRequired[Sequence[PluginMetric]]


class Generative(Task):
    """Learns to make rows x (B, ...) like those of the data, of a class where the model takes one.

    ``span`` is what black and white pixels are to the model; other data are to it as they are. A model that can be told
    a class has it in ``num_classes``. Scores compare ``samples`` rows it makes with as many real ones: by distance, by
    the modes they were drawn from, and in the features of a classifier trained on the same data, where there is one;
    and by the metrics of a user's own in ``scores``, whose predictions and targets are made and real rows (N, ...).
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
        self.is_scaled = data.info.bounds is not None
        self.display_bounds = data.pixel_bounds()
        if data.info.bounds is not None:
            self.display_bounds = [0.0], [1.0]  # as ``to_unit_range`` gives them
            self.low, self.high = (torch.tensor(list(end)).view(-1, 1, 1) for end in data.info.bounds)

    @property
    def sample_metrics(self) -> SampleMetrics:
        """With the data the task was attached to."""
        assert self._sample_metrics is not None, "a generative task is attached to data before it is scored"
        return self._sample_metrics

    @property
    def is_image_data(self) -> bool:
        return len(self.shape) == 3

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if self.num_classes is None:
            return
        if targets is None or targets.is_floating_point() or targets.dim() != 1:
            raise ConfigError(f"model.num_classes: rows of the {split} split have no class; null makes rows of any")
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
        """New rows (count, ...) as the model sees them, of the classes (count,); noise comes from torch's generator."""

    @abstractmethod
    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Numbers (B,) that tell how ordinary each row is."""

    def normalize(self, batch: Batch) -> Tensor:
        """The rows x (B, ...) as the model sees them."""
        x = batch.inputs["x"]
        if not self.is_scaled:
            return x
        black, white = self.value_range
        return black + (x - self.low) * ((white - black) / (self.high - self.low))

    def denormalize(self, x: Tensor) -> Tensor:
        """Rows as the model sees them, (B, ...), as the data has them, within its bounds."""
        x = x.float().reshape(-1, *self.shape)
        if not self.is_scaled:
            return x
        black, white = self.value_range
        return self.low + (x.clamp(black, white) - black) * ((self.high - self.low) / (white - black))

    def get_labels(self, batch: Batch) -> Tensor | None:
        """The classes (B,) of a batch, for a model that is told them."""
        return None if self.num_classes is None else batch.target

    @torch.no_grad()
    def generate(self, count: int, label: Tensor | None) -> Tensor:
        """New rows (count, ...) as the data has them, a part at a time."""
        starts = range(0, count, GENERATION_BATCH_SIZE)
        device = self.progress.device
        parts = []
        for start in starts:
            of = None if label is None else label[start : start + GENERATION_BATCH_SIZE].to(device)
            drawn = self.draw(min(GENERATION_BATCH_SIZE, count - start), of)
            if drawn[0].numel() != math.prod(self.shape):
                raise ConfigError(f"model: makes rows {tuple(drawn.shape[1:])} where the data has {self.shape}")
            parts.append(self.denormalize(drawn))
        return torch.cat(parts)

    def collect_real_rows(self, batch: Batch) -> Score:
        """What a score holds of a batch for ``compare_samples``: its rows, and their classes."""
        label = {} if batch.target is None else {"label": RowValues(batch.target)}
        return {"real": RowValues(batch.inputs["x"]), **label}

    def compare_samples(self, totals: dict[str, Tensor]) -> dict[str, float]:
        """How like the real rows new ones are."""
        real = totals["real"]
        picked = subsample_indices(len(real), self.samples)
        label = None if self.num_classes is None else totals["label"][picked]
        return self._compare(self.generate(len(picked), label), real[picked], label)

    def _compare(self, made: Tensor, real: Tensor, label: Tensor | None) -> dict[str, float]:
        own = {metric.name: metric.compute(made.cpu(), real.cpu()) for metric in self.computed_metrics}
        return self.sample_metrics(made, real, label) | own

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """What one Gaussian fitted to the training rows scores, and what real rows do: those of validation."""
        data, device = self.sample_metrics.data, self.progress.device
        test, val = (load_rows(split, subsample_indices(len(split), self.samples)) for split in (data.test, data.val))
        real, others, label = test.inputs["x"], val.inputs["x"].to(device), self.get_labels(val)
        wanted = None if label is None else label[torch.arange(len(real)) % len(label)]
        broad = self.sample_metrics.sample_gaussian(len(real)).to(device)
        return self._compare(broad, real, wanted), self._compare(others, real, label)

    def sample_preview(self) -> Tensor:
        """What is made of the same noise each time, to watch it change; of each class in turn."""
        count = PREVIEW_IMAGES if self.is_image_data else PREVIEW_POINTS
        return self.generate(count, self._make_labels(count, None)).cpu()

    def render_preview(self, name: str, shots: Sequence[tuple[str, Tensor]]) -> Iterator[Artifact]:
        if not self.is_image_data:
            real = self.sample_metrics.get_training_rows()[:PREVIEW_POINTS]
            yield ScatterPlot(
                name, [(caption, rows.flatten(1)) for caption, rows in shots], real, self.info.feature_names
            )
            return
        rows = [
            (caption, self.to_unit_range(made[: MAX_GRID_IMAGES if len(shots) == 1 else GRID_COLUMNS]))
            for caption, made in shots
        ]
        tiles = [
            ImageTile(one, "" if place else caption, bounds=self.display_bounds)
            for caption, row in rows
            for place, one in enumerate(row)
        ]
        yield ImageGrid(name, tiles, GRID_COLUMNS)

    def to_unit_range(self, x: Tensor) -> Tensor:
        """Pictures (N, C, H, W) as the data has them, from 0 for black to 1 for white where these are known."""
        return (x.cpu() - self.low.cpu()) / (self.high - self.low).cpu() if self.is_scaled else x.cpu()

    def sample(
        self, count: PositiveInt = 64, label: NonNegativeInt | None = None, seed: NonNegativeInt = 0
    ) -> Iterator[str | Artifact]:
        """New rows, as a picture and as an array; of one class, or of each in turn where the model takes one."""
        classes = self._make_labels(count, label)
        name = f"sampled-{seed}" if label is None else f"sampled-{seed}-of-{label}"
        yield from self.to_artifacts(self.generate_seeded(count, classes, seed), name, classes)

    def generate_seeded(self, count: int, label: Tensor | None, seed: int) -> Tensor:
        """New rows (count, ...) as the data has them, the same for the same seed."""
        with rng.fork_rng(seed, self.progress.device):
            return self.generate(count, label).cpu()

    def to_artifacts(self, rows: Tensor, name: str, label: Tensor | None = None) -> Iterator[Artifact]:
        """Rows for the eye and for other programs; of these classes (N,), if a table of them is to say so."""
        yield from self.render_preview(name, [("", rows)])
        if self.info.to_table is None:
            yield ArrayFile(name, self.to_unit_range(rows))
        else:
            yield Table(name, *self.info.to_table(rows, label))

    def _make_labels(self, count: int, label: int | None) -> Tensor | None:
        """Classes (count,): one, or each in turn. Raises ConfigError for one that the model does not know."""
        if self.num_classes is None:
            if label is not None:
                raise ConfigError(f"sample label: {label} given; the model of this run makes rows of any class")
            return None
        if label is not None and label >= self.num_classes:
            raise ConfigError(f"sample label: {label} given; the classes are 0 to {self.num_classes - 1}")
        return torch.arange(count) % self.num_classes if label is None else torch.full((count,), label)
