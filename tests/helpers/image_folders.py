"""Folders of small images by class."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from trainer.core.split import Split
from trainer.data.datasets.image.image_folder import ImageFolder
from trainer.utils.errors import DataError

OPTIONS: dict[str, Any] = {
    **{"size": 8, "fit": "cut", "channels": None, "val": 0.2, "test": 0.2, "seed": 0, "cache_gb": 1.0},
}
KINDS = ("bad", "good")


def write(folder: Path, count: int = 10, kinds: tuple[str, ...] = KINDS, colour: bool = True, start: int = 0) -> Path:
    """Write uniform images with the value 100 times the class plus 5 times the number, plus 3."""
    for place, kind in enumerate(kinds):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            shade = 100 * place + 5 * (number + start) + 3
            pixels = np.full((9, 12, 3) if colour else (9, 12), shade, np.uint8)
            if colour:
                pixels[..., 2] = 0
            Image.fromarray(pixels).save(folder / kind / f"{number:03d}.{'PNG' if number % 2 else 'png'}")
    return folder


def read(folder: Path, **changes: object) -> ImageFolder:
    return ImageFolder(path=str(folder), **OPTIONS | changes)


def read_error(folder: Path, **changes: object) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, **changes)
    return str(caught.value)


def rows(split: Split) -> tuple[Tensor, Tensor]:
    """Return the bytes and classes of every row."""
    batch = split.batch(torch.arange(len(split)), 0)
    assert batch.target is not None
    return batch.inputs["x"], batch.target
