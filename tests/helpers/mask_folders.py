"""Folders of small images and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer.core.split import Split
from trainer.data.datasets.image.segmentation_folder import SegmentationFolder
from trainer.utils.errors import DataError

OPTIONS: dict[str, Any] = {
    **{"classes": None, "values": None, "ignore": None, "size": None, "fit": "cut", "channels": None, "repeats": 1},
    **{"val": 0.2, "test": 0.2, "seed": 0, "cache_gb": 1.0},
}


def make_mask(number: int, values: tuple[int, ...]) -> np.ndarray:
    """Return a mask (10, 8) with the values in stripes, shifted by the number."""
    row = (np.arange(10)[:, None] + number) // 2 % len(values)
    return np.array(values)[row].repeat(8, 1)


def make_image(number: int, values: tuple[int, ...]) -> np.ndarray:
    pixels = np.searchsorted(values, make_mask(number, values)).astype(np.uint8) * 60
    pixels[0, 0] = number
    return pixels


def write(folder: Path, count: int = 10, values: tuple[int, ...] = (0, 7, 255), start: int = 0) -> Path:
    """Write images of 60 times the class, except for the first pixel, which is the number, with their masks."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for number in range(start, start + count):
        mask = make_mask(number, values)
        Image.fromarray(make_image(number, values)).save(folder / "images" / f"{number}.bmp")
        kind = np.uint8 if max(values) < 256 else np.uint16
        Image.fromarray(mask.astype(kind)).save(folder / "masks" / f"{number}.png")
    return folder


def read(folder: Path, **changes: object) -> SegmentationFolder:
    return SegmentationFolder(path=str(folder), **OPTIONS | changes)


def read_error(folder: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **changes)
    return str(caught.value)


def rows(split: Split) -> tuple[Tensor, Tensor]:
    """Return the bytes and target classes of every row."""
    index = torch.arange(len(split))
    target = split.to_model_inputs(split.batch(index, 0)).target
    assert target is not None
    assert target.dtype == torch.long
    return split.batch(index, 0).inputs["x"], target
