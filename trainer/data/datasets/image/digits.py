"""Handwritten digits of scikit-learn (8x8, Alpaydin and Kaynak 1998), for classification and segmentation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, ImageInfo
from trainer.core.split import TensorSplit
from trainer.core.types import NonNegativeInt, PositiveInt
from trainer.data.generators import image_patterns
from trainer.data.reference import baselines
from trainer.data.splits.image_inputs import FixedSizeImageDataset
from trainer.data.splits.splitting import split_by_order, stratified_order
from trainer.utils.errors import DataError

NUM_CLASSES = 10
BACKGROUND_CLASS = 10
FOREGROUND_THRESHOLD = 0.2
"""Minimum intensity, from 0 to 1, of a pixel labeled as its digit."""


class Digits(FixedSizeImageDataset):
    """Classification of 1797 grayscale digits.

    Images are scaled to [0, 1] and resized from 8x8 to ``size``; splits are stratified by class.

    Args:
        size: Height and width in pixels.
        seed: Random seed of the split.
        classes: Digits to classify, in the order of the classes; None for all ten.
        train_rows: Number of training rows, stratified by class; None for all. Validation and test rows stay the same.

    Raises:
        DataError: Fewer than two classes, an unknown or a repeated one, or fewer training rows than ``train_rows``.

    References:
        Alpaydin and Kaynak 1998, Cascading Classifiers, Kybernetika 34(4).
    """

    shapes = "x (B, C, H, W) -> (B)"

    def __init__(
        self,
        size: PositiveInt = 28,
        seed: NonNegativeInt = 0,
        classes: list[NonNegativeInt] | None = None,
        train_rows: PositiveInt | None = None,
    ):
        x, y = load_digits(size)
        if classes is not None:
            x, y = select_classes(x, y, classes)
        train, self.val, self.test = split_by_order({"x": x}, y, stratified_order(y, seed))
        self.train = train if train_rows is None else keep_first_rows(train, train_rows)
        num_classes = NUM_CLASSES if classes is None else len(classes)
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x, num_classes),
            baseline=baselines.majority_class(self.train, self.test, num_classes),
            class_names=[] if classes is None else [str(digit) for digit in classes],
            image=ImageInfo(bounds=([0.0], [1.0])),
        )


class DigitCanvas(Dataset):
    """Semantic segmentation of ``digits`` digits in different quarters of a canvas.

    Every pixel has the class of its digit, or background. No source image is used in two splits. Digits do not overlap,
    so a perfect score is possible.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        size: Height and width of the canvas in pixels.
        digits: Number of digits per canvas, at most one per quarter.
        digit_size: Height and width of a digit in pixels, at most ``size // 2``.
        seed: Random seed of the data.

    Raises:
        DataError: Digits are larger than a quarter of the canvas.

    References:
        Alpaydin and Kaynak 1998, Cascading Classifiers, Kybernetika 34(4) (digits).
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
            raise DataError(
                f"digit_size: {digit_size} pixels exceed a quarter of a canvas of {size} (at most {size // 2})"
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
            image=ImageInfo(blank_class=BACKGROUND_CLASS),
        )


def load_digits(size: int) -> tuple[Tensor, Tensor]:
    """Load all digits (1797, 1, size, size) in [0, 1], resized bilinearly, and their classes."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    x = torch.from_numpy(bunch.images).float()[:, None] / 16
    if size != x.shape[-1]:
        x = F.interpolate(x, size=(size, size), mode="bilinear", align_corners=False)
    return x, torch.from_numpy(bunch.target).long()


def select_classes(x: Tensor, y: Tensor, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Return the images of some digits (M, C, H, W), and their positions (M,) in ``classes``.

    Args:
        x: Images, (N, C, H, W).
        y: Digits, (N,).
        classes: Digits to select.

    Raises:
        DataError: Fewer than two digits, an unknown or a repeated one.
    """
    if len(classes) < 2 or len(set(classes)) < len(classes) or not set(classes) <= set(range(NUM_CLASSES)):
        raise DataError(f"classes: {list(classes)} given; it must be two or more different digits of 0 to 9")
    matches = y[:, None] == torch.tensor(list(classes))
    is_selected = matches.any(1)
    return x[is_selected], matches[is_selected].long().argmax(1)


def keep_first_rows(split: TensorSplit, rows: int) -> TensorSplit:
    """Return a split of the first rows, which are stratified by class if all are.

    Args:
        split: The split.
        rows: Number of rows.

    Raises:
        DataError: The split has fewer rows.
    """
    if rows > len(split):
        raise DataError(f"train_rows: {rows} given; the training split has {len(split)} rows")
    return TensorSplit({name: value[:rows] for name, value in split.inputs.items()}, split.require_target()[:rows])


def make_canvases(
    source: TensorSplit, rows: int, size: int, digits: int, random: torch.Generator
) -> tuple[dict[str, Tensor], Tensor]:
    """Compose canvases and the class of each of their pixels.

    Args:
        source: Images (N, 1, H, H) of digits, and their classes.
        rows: Number of canvases.
        size: Height and width of a canvas in pixels.
        digits: Number of digits per canvas.
        random: Generator of digits and positions.

    Returns:
        Inputs x (rows, 1, size, size) and target (rows, size, size).
    """
    assert source.target is not None
    x = torch.zeros(rows, 1, size, size)
    y = torch.full((rows, size, size), BACKGROUND_CLASS)
    side = source.inputs["x"].shape[-1]
    quarters = torch.rand(rows, 4, generator=random).argsort(1)[:, :digits]
    digit_index = torch.randint(len(source), (rows, digits), generator=random)
    slack = torch.randint(size // 2 - side + 1, (rows, digits, 2), generator=random)
    row = torch.arange(rows)[:, None, None]
    for index in range(digits):
        corner = torch.stack((quarters[:, index] // 2, quarters[:, index] % 2), dim=1) * (size // 2) + slack[:, index]
        y_index = (corner[:, :1] + torch.arange(side))[:, :, None]
        x_index = (corner[:, 1:] + torch.arange(side))[:, None, :]
        digit = source.inputs["x"][digit_index[:, index], 0]
        x[row, 0, y_index, x_index] = digit
        y[row, y_index, x_index] = torch.where(
            digit > FOREGROUND_THRESHOLD, source.require_target()[digit_index[:, index], None, None], BACKGROUND_CLASS
        )
    return {"x": x}, y
