"""Image splits as uint8, in memory or on disk, converted to float on the device to save memory and transfers."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.device_copy import copy_to_device
from trainer.core.prediction import ChooseLabels, Prediction
from trainer.core.preprocessing import Preprocessing
from trainer.core.split import Split, TensorSplit
from trainer.data.readers.lazy_images import LazyImages
from trainer.data.splits.pixel_scale import NUM_LEVELS, PixelScale
from trainer.utils.errors import DataError


class PixelMixin(Split):
    """Mixin that normalizes uint8 x (B, C, H, W), casts integer targets and names rows by their ``paths``."""

    scale: PixelScale
    paths: Sequence[str] | None = None

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        return super().get_row_names(first) if self.paths is None else ("file", self.paths)

    def to_model_inputs(self, batch: Batch) -> Batch:
        target = None if batch.target is None else batch.target.long()
        return replace(batch, inputs={"x": self.scale(batch.inputs["x"])}, target=target)

    def collect_outputs(
        self, parts: Iterable[tuple[Tensor, Prediction]], choose_labels: ChooseLabels
    ) -> dict[str, Tensor]:
        """Return the predictions in the order of the rows; those of label maps without probabilities, to save memory.

        Args:
            parts: Row numbers (B,) and predictions of each batch.
            choose_labels: Function of the task from probabilities to labels.
        """
        reduced = ((index, drop_map_probabilities(prediction)) for index, prediction in parts)
        return super().collect_outputs(reduced, choose_labels)


def drop_map_probabilities(prediction: Prediction) -> Prediction:
    """Return predictions of label maps (B, H, W) as int16 without their probabilities, others unchanged."""
    label = prediction.get("label")
    if label is None or label.dim() != 3:
        return prediction
    return {name: prediction[name].to(torch.int16) for name in ("label", "target") if name in prediction}


class PixelSplit(PixelMixin, TensorSplit):
    """Images as uint8 in memory.

    Args:
        x: Images, (N, C, H, W) uint8.
        target: Classes (N,), or maps (N, H, W).
        scale: Normalization.
        distinct_targets: Distinct targets, for validation by the task instead of large target maps.
        paths: Name of each image.
    """

    def __init__(
        self,
        x: Tensor,
        target: Tensor,
        scale: PixelScale,
        distinct_targets: Tensor | None = None,
        paths: Sequence[str] | None = None,
    ):
        super().__init__({"x": x}, target)
        self.scale = scale
        self.distinct_targets = distinct_targets
        self.paths = paths

    def get_targets(self) -> Tensor | None:
        return self.target if self.distinct_targets is None else self.distinct_targets

    def to(self, device: torch.device) -> PixelSplit:
        x, target = self.inputs["x"].to(device), self.require_target().to(device)
        return PixelSplit(x, target, self.scale.to(device), self.distinct_targets, self.paths)


class LazyImageSplit(PixelMixin):
    """Images decoded on every access.

    Args:
        x: Images on disk.
        target: Classes (N,), or maps on disk.
        scale: Normalization.
        distinct_targets: Distinct targets, for validation by the task.
        paths: Name of each image.
    """

    def __init__(
        self,
        x: LazyImages,
        target: Tensor | LazyImages,
        scale: PixelScale,
        distinct_targets: Tensor,
        paths: Sequence[str],
    ):
        self.x = x
        self.target = target
        self.scale = scale
        self.distinct_targets = distinct_targets
        self.paths = paths

    def __len__(self) -> int:
        return len(self.x)

    def get_targets(self) -> Tensor:
        return self.distinct_targets

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return Batch({"x": self.x[index]}, self.target[index], index)


class RepeatedSplit(Split):
    """Split repeated several times per epoch.

    Row ``i`` is row ``i % n`` of the wrapped split but keeps its own index, so that augmentations differ.

    Args:
        split: Split that is repeated.
        times: Number of repetitions per epoch.
    """

    def __init__(self, split: Split, times: int):
        self.split = split
        self.num_repeats = times

    def __len__(self) -> int:
        return self.num_repeats * len(self.split)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return replace(self.split.batch(index % len(self.split), epoch), index=index)

    def iter_batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        rows = [index % len(self.split) for index in order]
        for index, batch in zip(order, self.split.iter_batches(rows, epoch), strict=True):
            yield replace(batch, index=copy_to_device(index, batch.index.device))

    def to_model_inputs(self, batch: Batch) -> Batch:
        return self.split.to_model_inputs(batch)

    def get_targets(self) -> Tensor | None:
        return self.split.get_targets()

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        kind, names = self.split.get_row_names(first)
        return super().get_row_names(first) if kind == "row" else (kind, [*names] * self.num_repeats)

    def count_bytes(self) -> int | None:
        return self.split.count_bytes()

    def to(self, device: torch.device) -> RepeatedSplit:
        return RepeatedSplit(self.split.to(device), self.num_repeats)


MAX_SAMPLED_IMAGES = 512
"""Number of training images used to fit the scale, whether images are cached or not, so that both agree."""
GIGABYTE = 1e9


def make_image_splits(
    fitted: Preprocessing,
    x: LazyImages,
    y: Tensor | LazyImages,
    counts: Sequence[int],
    distinct_targets: Sequence[Tensor],
    cache_gb: float,
) -> list[PixelSplit | LazyImageSplit]:
    """Return training, validation and test splits from consecutive rows of ``x`` (N, C, H, W).

    Args:
        fitted: Preprocessing, which stores the scale of a run.
        x: Images of all splits, in order.
        y: Labels (N,), or int8 maps (N, H, W).
        counts: Number of rows of each split.
        distinct_targets: Distinct targets of each split, for validation by the task.
        cache_gb: Images are decoded once and cached if they fit into this size.

    Raises:
        DataError: Images are corrupt, or all pixels are equal.
    """
    parts = [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]
    common_dir = os.path.commonpath([path.parent for path in x.paths])
    names = [os.path.relpath(path, common_dir) for path in x.paths]
    sample = slice(0, counts[0], -(-counts[0] // MAX_SAMPLED_IMAGES))
    if x.nbytes + y.nbytes > cache_gb * GIGABYTE:
        scale = PixelScale.get_or_fit(fitted, lambda: _fit_scale(x.slice_rows(sample).load_all()))
        return [
            LazyImageSplit(
                x.slice_rows(part),
                y[part] if isinstance(y, Tensor) else y.slice_rows(part),
                scale,
                targets,
                names[part],
            )
            for part, targets in zip(parts, distinct_targets, strict=True)
        ]
    x_loaded, y_loaded = x.load_all(), y if isinstance(y, Tensor) else y.load_all()
    scale = PixelScale.get_or_fit(fitted, lambda: _fit_scale(x_loaded[sample]))
    return [
        PixelSplit(x_loaded[part], y_loaded[part], scale, targets, names[part])
        for part, targets in zip(parts, distinct_targets, strict=True)
    ]


def _fit_scale(x: Tensor) -> PixelScale:
    if x.min() == x.max():
        raise DataError(
            f"path: every pixel of {len(x)} training images is {int(x.min())} of {NUM_LEVELS - 1}; "
            "images must not be constant"
        )
    return PixelScale.from_images(x)
