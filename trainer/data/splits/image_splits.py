"""Pictures as bytes, in memory or on disk: a quarter of the room and the way, numbers only where the model is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.dataset import DatasetInfo, Split, TensorSplit
from trainer.core.preprocessing import Preprocessing
from trainer.data.readers import class_folders, download, image_file, text_file
from trainer.data.readers.image_file import LazyImages
from trainer.utils.errors import ConfigError

NUM_LEVELS = 256


@dataclass(frozen=True)
class PixelScale:
    """Mean and deviation of each channel, (C, 1, 1), which pictures are told in."""

    mean: Tensor
    std: Tensor

    @classmethod
    def from_images(cls, x: Tensor) -> PixelScale:
        """Of bytes (N, C, H, W). They are counted, so no copy in floating point is made; flat channels stay as dark."""
        counts = torch.stack([x[:, channel].flatten().bincount(minlength=NUM_LEVELS) for channel in range(x.shape[1])])
        share = counts / counts.sum(1, keepdim=True, dtype=torch.double)
        level = torch.arange(NUM_LEVELS, dtype=torch.double)
        mean = (share * level).sum(1, keepdim=True)
        std = (share * (level - mean).square()).sum(1, keepdim=True).sqrt()
        return cls(mean.float()[..., None], torch.where(std > 0, std, 1).float()[..., None])

    @classmethod
    def get_or_fit(cls, fitted: Preprocessing, measure: Callable[[], PixelScale]) -> PixelScale:
        """The scale that a run stores."""

        def learn() -> dict[str, Tensor]:
            scale = measure()
            return {"mean": scale.mean, "std": scale.std}

        return cls(**fitted.get_or_fit("scale", learn))

    @classmethod
    def from_range(cls, black: Sequence[float], white: Sequence[float]) -> PixelScale:
        """The scale on which the least and the largest byte of each channel are these."""
        low, high = (torch.tensor(list(end)).view(-1, 1, 1) for end in (black, white))
        std = (NUM_LEVELS - 1) / (high - low)
        return cls(-low * std, std)

    def to(self, device: torch.device) -> PixelScale:
        return PixelScale(self.mean.to(device), self.std.to(device))

    @property
    def black_level(self) -> list[float]:
        """What a byte of 0 is in each channel."""
        return (-self.mean / self.std).flatten().tolist()

    @property
    def pixel_bounds(self) -> tuple[list[float], list[float]]:
        """What the least and the largest byte are in each channel."""
        return self.black_level, ((NUM_LEVELS - 1 - self.mean) / self.std).flatten().tolist()

    def __call__(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean.to(x.device)) / self.std.to(x.device)


class _PixelMixin(Split):
    """Finishes bytes x (B, C, H, W), and targets that are small whole numbers; rows are called by their ``paths``."""

    scale: PixelScale
    paths: Sequence[str] | None = None

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        return super().get_row_names(first) if self.paths is None else ("file", self.paths)

    def to_model_inputs(self, batch: Batch) -> Batch:
        target = None if batch.target is None else batch.target.long()
        return replace(batch, inputs={"x": self.scale(batch.inputs["x"])}, target=target)


class PixelSplit(_PixelMixin, TensorSplit):
    """Bytes in memory. ``known`` is what a task checks in place of a target of many pixels: each class once."""

    def __init__(
        self,
        x: Tensor,
        target: Tensor,
        scale: PixelScale,
        known: Tensor | None = None,
        paths: Sequence[str] | None = None,
    ):
        super().__init__({"x": x}, target)
        self.scale = scale
        self.known = known
        self.paths = paths

    def get_targets(self) -> Tensor | None:
        return self.target if self.known is None else self.known

    def to(self, device: torch.device) -> PixelSplit:
        x, target = self.inputs["x"].to(device), self.require_target().to(device)
        return PixelSplit(x, target, self.scale.to(device), self.known, self.paths)


class LazyImageSplit(_PixelMixin):
    """Bytes decoded anew whenever they are asked for."""

    def __init__(
        self, x: LazyImages, target: Tensor | LazyImages, scale: PixelScale, known: Tensor, paths: Sequence[str]
    ):
        self.x = x
        self.target = target
        self.scale = scale
        self.known = known
        self.paths = paths

    def __len__(self) -> int:
        return len(self.x)

    def get_targets(self) -> Tensor:
        return self.known

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return Batch({"x": self.x[index]}, self.target[index], index)


class RepeatedSplit(Split):
    """A split gone through ``times`` times an epoch.

    Row ``i`` is row ``i % n`` of the other, under its own number: what is random in it comes out another way.
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
            yield replace(batch, index=index.to(batch.index.device))

    def to_model_inputs(self, batch: Batch) -> Batch:
        return self.split.to_model_inputs(batch)

    def get_targets(self) -> Tensor | None:
        return self.split.get_targets()

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        called, names = self.split.get_row_names(first)
        return super().get_row_names(first) if called == "row" else (called, [*names] * self.num_repeats)

    def count_bytes(self) -> int | None:
        return self.split.count_bytes()

    def to(self, device: torch.device) -> RepeatedSplit:
        return RepeatedSplit(self.split.to(device), self.num_repeats)


MAX_SAMPLED_IMAGES = 512
"""Training pictures whose pixels are measured: as many whether they are kept or not, so that both see the same."""
GIGABYTE = 1e9


def make_image_splits(
    fitted: Preprocessing,
    x: LazyImages,
    y: Tensor | LazyImages,
    counts: Sequence[int],
    known: Sequence[Tensor],
    cache_gb: float,
) -> list[PixelSplit | LazyImageSplit]:
    """Training, validation and test rows, which follow one another in ``x`` (N, C, H, W), so many of each.

    y: labels (N,), or maps of int8 (N, H, W). known: the targets of each split, for the task to check. What fits into
    ``cache_gb`` is decoded at once and kept.

    Raises ConfigError for pictures that turn out broken, or all of one shade.
    """
    parts = [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]
    above = os.path.commonpath([path.parent for path in x.paths])
    names = [os.path.relpath(path, above) for path in x.paths]
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
            for part, targets in zip(parts, known, strict=True)
        ]
    x_kept, y_kept = x.load_all(), y if isinstance(y, Tensor) else y.load_all()
    scale = PixelScale.get_or_fit(fitted, lambda: _fit_scale(x_kept[sample]))
    return [
        PixelSplit(x_kept[part], y_kept[part], scale, targets, names[part])
        for part, targets in zip(parts, known, strict=True)
    ]


def _fit_scale(x: Tensor) -> PixelScale:
    if x.min() == x.max():
        raise ConfigError(
            f"data.path: every pixel of {len(x)} training pictures is {int(x.min())} of {NUM_LEVELS - 1}: "
            "nothing to see"
        )
    return PixelScale.from_images(x)


class NamedPixelSplit(_PixelMixin, TensorSplit):
    """Bytes in memory of pictures that have names and no classes."""

    def __init__(self, x: Tensor, scale: PixelScale, paths: Sequence[str]):
        super().__init__({"x": x})
        self.scale = scale
        self.paths: Sequence[str] = paths

    def to(self, device: torch.device) -> NamedPixelSplit:
        return NamedPixelSplit(self.inputs["x"].to(device), self.scale.to(device), self.paths)


def read(
    path: str, facts: DatasetInfo, fit: Literal["cut", "pad", "stretch"] = "pad", window: tuple[int, int] | None = None
) -> NamedPixelSplit:
    """The picture in a file, or all in a folder and the folders in it, in the size and the scale of a data set's own.

    window: of deep levels, as training pictures are shown.

    Raises ConfigError for a path that is not there, a folder without pictures, and pictures that cannot be read.
    """
    place = Path(path).expanduser()
    channels, height, width = (facts.sizes[name] for name in ("in_channels", "height", "width"))
    if height != width:
        raise ConfigError(f"input: pictures of this run are {width} x {height}; only square ones can be read")
    if not os.path.lexists(place):  # not Path.exists, which raises for a name that is too long
        raise download.missing_file_error(place, "input")
    if kind := text_file.describe_special_file(place):
        raise ConfigError(f"input: {place.absolute()} is {kind}")
    found = [place]
    if place.is_dir():
        found = sorted(
            [
                *class_folders.list_files(place, image_file.FILE_EXTENSIONS),
                *class_folders.list_nested_files(place, image_file.FILE_EXTENSIONS),
            ]
        )
    if not found:
        raise ConfigError(f"input: {place.absolute()} has no pictures ({', '.join(image_file.FILE_EXTENSIONS)})")
    view = image_file.ImageView(channels, height, fit, window)
    x = torch.stack(image_file.map_in_threads(partial(image_file.decode, view=view), found, option="input"))
    assert facts.bounds is not None, "pictures that are read have a black and a white"
    return NamedPixelSplit(
        x,
        PixelScale.from_range(*facts.bounds),
        [str(one.relative_to(place)) if place.is_dir() else one.name for one in found],
    )
