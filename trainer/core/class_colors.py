"""Colors of classes in figures and in overlays of segmentation masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CLASS_COLORS = (
    *((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (0, 114, 178), (213, 94, 0)),
    *((204, 121, 167), (148, 103, 189), (140, 86, 75), (23, 190, 207), (110, 110, 110), (188, 189, 34)),
)
"""RGB colors of classes: the palette of Okabe and Ito 2008, suitable for color-blind readers, and a few more."""
OVERLAY_OPACITY = 0.55
"""Weight of the color of a class over the image."""


def repeat_colors(num_classes: int) -> list[tuple[int, int, int]]:
    """Return the color of each class; they repeat after the last one."""
    return [CLASS_COLORS[index % len(CLASS_COLORS)] for index in range(num_classes)]


def overlay_classes(image: np.ndarray, labels: np.ndarray, colors: Sequence[tuple[int, int, int]]) -> np.ndarray:
    """Return an image with the color of the class of each pixel over it, (H, W, 3) uint8.

    Args:
        image: RGB image, (H, W, 3) uint8.
        labels: Class of each pixel, (H, W).
        colors: Color of each class.
    """
    tint = OVERLAY_OPACITY * np.array(colors, np.float32)
    overlaid = np.empty_like(image)
    for row, (pixels, classes) in enumerate(zip(image, labels, strict=True)):  # by row, to bound memory
        overlaid[row] = (np.float32(1 - OVERLAY_OPACITY) * pixels + tint[classes]).round()
    return overlaid
