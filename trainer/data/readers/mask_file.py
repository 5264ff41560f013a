"""Mask files: their values, and the class of each value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.data.readers import image_conversion, image_file
from trainer.utils.errors import DataError

NUM_LEVELS = 1 << 16
COLOR_MODES = {"LA": 2, "RGB": 3, "RGBA": 4}
"""Number of channels of modes whose colors must be gray in a mask; the last of an even number is opacity."""


class ImageMaskPair(NamedTuple):
    """Paths of an image and its mask."""

    image: Path
    mask: Path


@dataclass(frozen=True)
class ClassMap:
    """Map from mask values to classes.

    Args:
        values: Values of the classes 0, 1, ...
        ignore: Value of ignored pixels, if any.
        nearest: Whether other values map to the nearest class; otherwise they are ignored.
    """

    values: Sequence[int]
    ignore: int | None = None
    nearest: bool = False

    def lookup_table(self) -> Tensor:
        """Return the class of every value, (NUM_LEVELS,) int8."""
        values = torch.tensor(self.values)
        table = torch.full((NUM_LEVELS,), IGNORE_INDEX, dtype=torch.int8)
        if self.nearest:
            table = (torch.arange(NUM_LEVELS)[:, None] - values).abs().argmin(1).to(torch.int8)
        else:
            table[values] = torch.arange(len(values), dtype=torch.int8)
        if self.ignore is not None and self.ignore < NUM_LEVELS:
            table[self.ignore] = IGNORE_INDEX
        return table

    def count_classes(self, value_counts: Mapping[int, int]) -> Tensor:
        """Return the number of pixels of each class, (C,)."""
        table, counts = self.lookup_table(), torch.zeros(len(self.values), dtype=torch.long)
        for value, count in value_counts.items():
            if table[value] != IGNORE_INDEX:
                counts[int(table[value])] += count
        return counts

    def known_targets(self, value_counts: Mapping[int, int]) -> Tensor:
        """Return the distinct targets, (1, K)."""
        classes = set(self.lookup_table()[torch.tensor(sorted(value_counts))].tolist())
        return torch.tensor([sorted(classes, key=lambda target: (target == IGNORE_INDEX, target))])


def decode(path: Path, view: image_file.ImageView, table: Tensor) -> Tensor:
    """Decode a mask to the class of each pixel, (H, W) int8.

    Args:
        path: Mask file.
        view: Size of the decoded mask.
        table: Class of every mask value, from ``ClassMap.lookup_table``.
    """
    return table[torch.from_numpy(resize_mask(read_values(path), view).astype(np.int64))]


def decode_pair(
    pair: ImageMaskPair, view: image_file.ImageView, class_map: ClassMap, ignore: int | None
) -> tuple[Tensor, Tensor]:
    """Decode an image to uint8 (C, H, W) and its mask to the class of each pixel, (H, W) int8.

    Args:
        pair: Image and mask.
        view: Channels, size and intensity window.
        class_map: Map from mask values to classes.
        ignore: Mask value that is ignored.

    Raises:
        DataError: A file cannot be read, their sizes differ, or the mask has values that are no classes.
    """
    pixels, (height, width) = image_file.decode_with_size(pair.image, view)
    values = read_values(pair.mask)
    if values.shape != (height, width):
        sizes = f"{values.shape[1]} x {values.shape[0]} pixels, its image {width} x {height}"
        raise DataError(f"{pair.mask.absolute()} is {sizes}")
    unknown = [] if class_map.nearest else sorted({*np.unique(values).tolist()} - {*class_map.values, ignore})
    if unknown:
        raise DataError(
            f"{pair.mask.absolute()} has the value {unknown[0]}, which is no class of this run"
            f" ({', '.join(map(str, class_map.values))})"
        )
    return pixels, class_map.lookup_table()[torch.from_numpy(resize_mask(values, view).astype(np.int64))]


def read_values(path: Path) -> np.ndarray:
    """Read the stored pixel values, (H, W) of 8 or 16 bits: gray levels, bits or palette indices.

    Raises:
        DataError: The file is no image, is corrupt, or has colors or other values.
    """
    from PIL import ImageOps

    with image_file.open_image(path) as image:
        values = np.asarray(ImageOps.exif_transpose(image))
        if image.mode in COLOR_MODES:
            shades = values[..., : len(image.getbands()) - image.mode.endswith("A")]
            if (shades != shades[..., :1]).any():
                raise ValueError("color image; a mask must be gray, indexed by a palette or 1 bit")
            values = shades[..., 0]
        return image_conversion.to_unsigned(values)


def resize_mask(values: np.ndarray, view: image_file.ImageView) -> np.ndarray:
    """Resize pixel values (H, W) by nearest neighbor.

    Args:
        values: Pixel values of 8 or 16 bits.
        view: Size and resize mode.
    """
    from PIL import Image

    return np.array(image_conversion.resize_image(Image.fromarray(values), view, Image.Resampling.NEAREST))
