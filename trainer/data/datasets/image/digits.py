"""Handwritten digits that come with scikit-learn (8x8, Alpaydin and Kaynak 1998): one each, or several on a canvas."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo, TensorSplit
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.generators import image_patterns
from trainer.data.reference import baselines
from trainer.data.splits import image_splits
from trainer.data.splits.splitting import split_by_order, stratified_order
from trainer.utils.errors import ConfigError

NUM_CLASSES = 10
BACKGROUND_CLASS = 10
FOREGROUND_THRESHOLD = 0.2
"""How dark, from 0 to 1, a pixel of a canvas must be to belong to its digit."""


class Digits(Dataset):
    """1797 real grey pictures, scaled to [0, 1] and enlarged from 8x8 to ``size``; every split has the classes in equal
    shares.
    """

    shapes = "x (B, C, H, W) -> (B)"

    def __init__(self, size: PositiveInt = 28, seed: NonNegativeInt = 0):
        x, y = load_digits(size)
        self.train, self.val, self.test = split_by_order({"x": x}, y, stratified_order(y, seed))
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x, NUM_CLASSES),
            baseline=baselines.majority_class(self.train, self.test, NUM_CLASSES),
            bounds=([0.0], [1.0]),
        )

    def read(self, path: str) -> image_splits.NamedPixelSplit:
        return image_splits.read(path, self.info)


class DigitCanvas(Dataset):
    """``digits`` pictures in different quarters of a canvas; every pixel is of its digit's class, or background. No
    digit is in the canvases of two splits. Nothing overlaps, so all pixels could be told right.

    Raises ConfigError for digits larger than a quarter.
    """

    shapes = "x (B, C, H, W) -> (B, H, W)"

    def __init__(
        self,
        rows: PositiveInt = 2000,
        size: PositiveInt = 32,
        digits: Literal[1, 2, 3, 4] = 3,
        digit_size: PositiveInt = 12,
        seed: NonNegativeInt = 0,
    ):
        if digit_size > size // 2:
            raise ConfigError(
                f"data.digit_size: {digit_size} pixels do not fit a quarter of a canvas of {size} (at most {size // 2})"
            )
        x, y = load_digits(digit_size)
        sources = split_by_order({"x": x}, y, stratified_order(y, seed))
        random = rng.make_generator(seed, 1)
        test_rows = round(rows * 0.2)
        counts = (rows - 2 * test_rows, test_rows, test_rows)
        self.train, self.val, self.test = (
            TensorSplit(*make_canvases(source, count, size, digits, random))
            for source, count in zip(sources, counts, strict=True)
        )
        names = [*map(str, range(NUM_CLASSES)), "background"]
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(self.train.inputs["x"], len(names)),
            baseline=baselines.majority_pixel_class(self.train, self.test, names),
            best_possible={"mean_iou": 1.0, "pixel_accuracy": 1.0},
            class_names=names,
            blank_class=BACKGROUND_CLASS,
        )


def load_digits(size: int) -> tuple[Tensor, Tensor]:
    """All digits (1797, 1, size, size) in [0, 1], enlarged bilinearly, and their classes."""
    from sklearn.datasets import load_digits

    found = load_digits()
    x = torch.from_numpy(found.images).float()[:, None] / 16
    if size != x.shape[-1]:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return x, torch.from_numpy(found.target).long()


def make_canvases(
    source: TensorSplit, rows: int, size: int, digits: int, random: torch.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Pictures (rows, 1, size, size) with ``digits`` of the source on each, and the class of every pixel."""
    assert source.target is not None
    x = torch.zeros(rows, 1, size, size)
    y = torch.full((rows, size, size), BACKGROUND_CLASS)
    side = source.inputs["x"].shape[-1]
    quarters = torch.rand(rows, 4, generator=random).argsort(1)[:, :digits]
    chosen = torch.randint(len(source), (rows, digits), generator=random)
    slack = torch.randint(size // 2 - side + 1, (rows, digits, 2), generator=random)
    row = torch.arange(rows)[:, None, None]
    for k in range(digits):
        corner = torch.stack((quarters[:, k] // 2, quarters[:, k] % 2), dim=1) * (size // 2) + slack[:, k]
        down = (corner[:, :1] + torch.arange(side))[:, :, None]
        across = (corner[:, 1:] + torch.arange(side))[:, None, :]
        digit = source.inputs["x"][chosen[:, k], 0]
        x[row, 0, down, across] = digit
        y[row, down, across] = torch.where(
            digit > FOREGROUND_THRESHOLD, source.target[chosen[:, k], None, None], BACKGROUND_CLASS
        )
    return {"x": x}, y
