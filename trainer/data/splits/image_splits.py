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
from trainer.core.dataset import Facts, Split, TensorSplit
from trainer.core.preprocessing import Preprocessing
from trainer.data.readers import class_folders, download, image_file, text_file
from trainer.data.readers.image_file import Files
from trainer.utils.errors import ConfigError

LEVELS = 256


@dataclass(frozen=True)
class Scale:
    """Mean and deviation of each channel, (C, 1, 1), which pictures are told in."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, x: Tensor) -> Scale:
        """Of bytes (N, C, H, W). They are counted, so no copy in floating point is made; flat channels stay as dark."""
        counts = torch.stack([x[:, channel].flatten().bincount(minlength=LEVELS) for channel in range(x.shape[1])])
        share = counts / counts.sum(1, keepdim=True, dtype=torch.double)
        level = torch.arange(LEVELS, dtype=torch.double)
        mean = (share * level).sum(1, keepdim=True)
        std = (share * (level - mean).square()).sum(1, keepdim=True).sqrt()
        return cls(mean.float()[..., None], torch.where(std > 0, std, 1).float()[..., None])

    @classmethod
    def learned(cls, fitted: Preprocessing, measure: Callable[[], Scale]) -> Scale:
        """The scale that a run stores."""

        def learn() -> dict[str, Tensor]:
            scale = measure()
            return {"mean": scale.mean, "std": scale.std}

        return cls(**fitted.learn("scale", learn))

    @classmethod
    def between(cls, black: Sequence[float], white: Sequence[float]) -> Scale:
        """The scale on which the least and the largest byte of each channel are these."""
        low, high = (torch.tensor(list(end)).view(-1, 1, 1) for end in (black, white))
        std = (LEVELS - 1) / (high - low)
        return cls(-low * std, std)

    def to(self, device: torch.device) -> Scale:
        return Scale(self.mean.to(device), self.std.to(device))

    @property
    def black(self) -> list[float]:
        """What a byte of 0 is in each channel."""
        return (-self.mean / self.std).flatten().tolist()

    @property
    def bounds(self) -> tuple[list[float], list[float]]:
        """What the least and the largest byte are in each channel."""
        return self.black, ((LEVELS - 1 - self.mean) / self.std).flatten().tolist()

    def __call__(self, x: Tensor) -> Tensor:
        return (x.float() - self.mean.to(x.device)) / self.std.to(x.device)


class _Pixels(Split):
    """Finishes bytes x (B, C, H, W), and targets that are small whole numbers; rows are called by their ``paths``."""

    scale: Scale
    paths: Sequence[str] | None = None

    def names(self, first: int) -> tuple[str, Sequence[object]]:
        return super().names(first) if self.paths is None else ("file", self.paths)

    def finish(self, batch: Batch) -> Batch:
        target = None if batch.target is None else batch.target.long()
        return replace(batch, inputs={"x": self.scale(batch.inputs["x"])}, target=target)


class PixelSplit(_Pixels, TensorSplit):
    """Bytes in memory. ``known`` is what a task checks in place of a target of many pixels: each class once."""

    def __init__(
        self, x: Tensor, target: Tensor, scale: Scale, known: Tensor | None = None, paths: Sequence[str] | None = None
    ):
        super().__init__({"x": x}, target)
        self.scale = scale
        self.known = known
        self.paths = paths

    def targets(self) -> Tensor | None:
        return self.target if self.known is None else self.known

    def to(self, device: torch.device) -> PixelSplit:
        assert self.target is not None
        x, target = self.inputs["x"].to(device), self.target.to(device)
        return PixelSplit(x, target, self.scale.to(device), self.known, self.paths)


class FileSplit(_Pixels):
    """Bytes decoded anew whenever they are asked for."""

    def __init__(self, x: Files, target: Tensor | Files, scale: Scale, known: Tensor, paths: Sequence[str]):
        self.x = x
        self.target = target
        self.scale = scale
        self.known = known
        self.paths = paths

    def __len__(self) -> int:
        return len(self.x)

    def targets(self) -> Tensor:
        return self.known

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return Batch({"x": self.x[index]}, self.target[index], index)


class Repeated(Split):
    """A split gone through ``times`` times an epoch.

    Row ``i`` is row ``i % n`` of the other, under its own number: what is random in it comes out another way.
    """

    def __init__(self, split: Split, times: int):
        self.split = split
        self.times = times

    def __len__(self) -> int:
        return self.times * len(self.split)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return replace(self.split.batch(index % len(self.split), epoch), index=index)

    def batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        rows = [index % len(self.split) for index in order]
        for index, batch in zip(order, self.split.batches(rows, epoch), strict=True):
            yield replace(batch, index=index.to(batch.index.device))

    def finish(self, batch: Batch) -> Batch:
        return self.split.finish(batch)

    def targets(self) -> Tensor | None:
        return self.split.targets()

    def names(self, first: int) -> tuple[str, Sequence[object]]:
        called, names = self.split.names(first)
        return super().names(first) if called == "row" else (called, [*names] * self.times)

    def nbytes(self) -> int | None:
        return self.split.nbytes()

    def to(self, device: torch.device) -> Repeated:
        return Repeated(self.split.to(device), self.times)


SAMPLE = 512
"""Training pictures whose pixels are measured: as many whether they are kept or not, so that both see the same."""
GIGABYTE = 1e9


def splits(
    fitted: Preprocessing,
    x: Files,
    y: Tensor | Files,
    counts: Sequence[int],
    known: Sequence[Tensor],
    cache_gb: float,
) -> list[PixelSplit | FileSplit]:
    """Training, validation and test rows, which follow one another in ``x`` (N, C, H, W), so many of each.

    y: labels (N,), or maps of int8 (N, H, W). known: the targets of each split, for the task to check. What fits into
    ``cache_gb`` is decoded at once and kept.

    Raises ConfigError for pictures that turn out broken, or all of one shade.
    """
    parts = [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]
    above = os.path.commonpath([path.parent for path in x.paths])
    names = [os.path.relpath(path, above) for path in x.paths]
    sample = slice(0, counts[0], -(-counts[0] // SAMPLE))
    if x.nbytes + y.nbytes > cache_gb * GIGABYTE:
        scale = Scale.learned(fitted, lambda: _measured(x.part(sample).loaded()))
        return [
            FileSplit(x.part(part), y[part] if isinstance(y, Tensor) else y.part(part), scale, targets, names[part])
            for part, targets in zip(parts, known, strict=True)
        ]
    x_kept, y_kept = x.loaded(), y if isinstance(y, Tensor) else y.loaded()
    scale = Scale.learned(fitted, lambda: _measured(x_kept[sample]))
    return [
        PixelSplit(x_kept[part], y_kept[part], scale, targets, names[part])
        for part, targets in zip(parts, known, strict=True)
    ]


def _measured(x: Tensor) -> Scale:
    if x.min() == x.max():
        raise ConfigError(
            f"data.path: every pixel of {len(x)} training pictures is {int(x.min())} of {LEVELS - 1}: nothing to see"
        )
    return Scale.of(x)


class NamedPixels(_Pixels, TensorSplit):
    """Bytes in memory of pictures that have names and no classes."""

    def __init__(self, x: Tensor, scale: Scale, paths: Sequence[str]):
        super().__init__({"x": x})
        self.scale = scale
        self.paths: Sequence[str] = paths

    def to(self, device: torch.device) -> NamedPixels:
        return NamedPixels(self.inputs["x"].to(device), self.scale.to(device), self.paths)


def read(
    path: str, facts: Facts, fit: Literal["cut", "pad", "stretch"] = "pad", window: tuple[int, int] | None = None
) -> NamedPixels:
    """The picture in a file, or all in a folder and the folders in it, in the size and the scale of a data set's own.

    window: of deep levels, as training pictures are shown.

    Raises ConfigError for a path that is not there, a folder without pictures, and pictures that cannot be read.
    """
    place = Path(path).expanduser()
    channels, height, width = (facts.sizes[name] for name in ("in_channels", "height", "width"))
    if height != width:
        raise ConfigError(f"input: pictures of this run are {width} x {height}; only square ones can be read")
    if not os.path.lexists(place):  # not Path.exists, which raises for a name that is too long
        raise download.missing(place, "input")
    if kind := text_file.special(place):
        raise ConfigError(f"input: {place.absolute()} is {kind}")
    found = [place]
    if place.is_dir():
        found = sorted(
            [*class_folders.listed(place, image_file.ENDINGS), *class_folders.nested(place, image_file.ENDINGS)]
        )
    if not found:
        raise ConfigError(f"input: {place.absolute()} has no pictures ({', '.join(image_file.ENDINGS)})")
    view = image_file.View(channels, height, fit, window)
    x = torch.stack(image_file.every(partial(image_file.decode, view=view), found, option="input"))
    assert facts.bounds is not None, "pictures that are read have a black and a white"
    return NamedPixels(
        x, Scale.between(*facts.bounds), [str(one.relative_to(place)) if place.is_dir() else one.name for one in found]
    )
