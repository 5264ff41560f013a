"""Images with masks in a palette of colors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLORS = ((10, 200, 30), (0, 0, 0), (250, 20, 255))
VALUES = (1, 4, 9)
"""Mask value of each class: an index of the palette."""


def make_palette() -> bytes:
    palette = np.zeros((256, 3), np.uint8)
    palette[list(VALUES)] = COLORS
    return palette.tobytes()


def make_pair(number: int, height: int = 24, width: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Return an image of smooth noise and the class of each pixel, by its brightness."""
    draw = np.random.default_rng(number)
    coarse = Image.fromarray(draw.uniform(0, 1, (height // 8 + 2, width // 8 + 2)).astype(np.float32))
    smooth = np.asarray(coarse.resize((width, height), Image.Resampling.BILINEAR))
    noisy = 255 * smooth + draw.normal(0, 20, (height, width))
    return noisy.clip(0, 255).astype(np.uint8), np.digitize(smooth, (0.4, 0.6))


def write(folder: Path, count: int = 15) -> Path:
    """Write ``images/`` and ``masks/``; the masks have mode P."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(count):
        pixels, classes = make_pair(number)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        mask = Image.fromarray(np.array(VALUES, np.uint8)[classes])
        mask.putpalette(make_palette())
        mask.save(folder / "masks" / f"{number}.png")
    return folder
