"""Format of mask files: color mode and palette, fitted on the training masks and used for predicted masks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from trainer.core import class_colors
from trainer.core.prediction import IndexedImage
from trainer.core.preprocessing import Preprocessing
from trainer.data.readers import image_file
from trainer.data.readers.mask_file import COLOR_MODES
from trainer.utils.errors import DataError

MAX_SAMPLED_MASKS = 512
"""Maximum number of training masks whose format is read."""
OPAQUE = 255
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class MaskFormat:
    """Color mode and palette of mask files.

    Args:
        mode: Mode of Pillow: ``1``, ``L``, ``P``, ``LA``, ``RGB``, ``RGBA``, or a mode of more than 8 bits.
        palette: RGB color of each value of mode ``P``, else empty.
    """

    mode: str
    palette: Sequence[Sequence[int]] = ()

    def encode(self, labels: np.ndarray, values: Sequence[int]) -> np.ndarray | IndexedImage:
        """Return the pixels of a mask file.

        Args:
            labels: Class of each pixel, (H, W).
            values: Mask value of each class.
        """
        is_wide = self.mode[0] == "I" or max(values) > np.iinfo(np.uint8).max
        pixels = np.array(values, np.uint16 if is_wide else np.uint8)[labels]
        if self.mode == "1":
            return pixels.astype(bool)
        if self.mode == "P":
            # A mask may use values that its palette lacks, which a PNG file cannot hold.
            missing = max(0, max(values) + 1 - len(self.palette))
            return IndexedImage(pixels, [*self.palette, *[(0, 0, 0)] * missing])
        if self.mode not in COLOR_MODES:
            return pixels
        channels = np.stack([pixels] * COLOR_MODES[self.mode], axis=-1)
        if self.mode.endswith("A"):
            channels[..., -1] = OPAQUE
        return channels

    def get_class_colors(self, values: Sequence[int]) -> list[tuple[int, int, int]]:
        """Return the color of each class in an overlay: those of the palette if they are distinct and not all gray.

        Args:
            values: Mask value of each class.
        """
        colors = [(*map(int, self.palette[value]),) for value in values if value < len(self.palette)]
        is_colorful = any(len(set(color)) > 1 for color in colors) and len(set(colors)) == len(values)
        return (
            [(red, green, blue) for red, green, blue in colors]
            if is_colorful
            else class_colors.repeat_colors(len(values))
        )


def fit_mask_format(fitted: Preprocessing, masks: Sequence[Path]) -> None:
    """Fit the format of masks: the most frequent mode, with the palette of the first mask that has it.

    Args:
        fitted: Preprocessing of a run in training.
        masks: Training masks.
    """
    if not fitted.is_stored:
        sample = masks[:: -(-len(masks) // MAX_SAMPLED_MASKS)]
        fitted.get_or_fit("mask_format", lambda: asdict(_find_format(sample)))


def get_stored_format(fitted: Preprocessing) -> MaskFormat:
    """Return the format that a run stored; gray for a run of a version that stored none."""
    stored = fitted.values.get("mask_format")
    if stored is None:
        log.warning("this run was saved by a version without the palette of its masks; masks are written in gray")
        return MaskFormat("L")
    return MaskFormat(**stored)


def _find_format(masks: Sequence[Path]) -> MaskFormat:
    formats = [each for each in image_file.try_map_in_threads(_read_format, masks) if not isinstance(each, DataError)]
    mode = Counter(each.mode for each in formats).most_common(1)[0][0]
    return next(each for each in formats if each.mode == mode)


def _read_format(path: Path) -> MaskFormat:
    with image_file.open_image(path) as image:
        palette = image.getpalette("RGB") if image.mode == "P" else None
        return MaskFormat(image.mode, np.reshape(palette or [], (-1, 3)).tolist())
