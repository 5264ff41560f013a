"""Label maps: the predicted class of each pixel, as images and as columns."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from torch import Tensor

from trainer.core import class_colors
from trainer.core.batch import IGNORE_INDEX
from trainer.core.prediction import DecodedPrediction, IndexedImage
from trainer.core.prediction_columns import Column

MASK_DIR, SUFFIX = "masks", ".png"
EncodeMask = Callable[[np.ndarray], np.ndarray | IndexedImage]
"""Function from the class of each pixel (H, W) to the pixels of a mask file."""


def encode_class_indices(labels: np.ndarray, num_classes: int) -> IndexedImage:
    """Return a mask whose pixels are class indices, with a palette of distinct colors.

    Args:
        labels: Class of each pixel, (H, W), at most 256 classes.
        num_classes: Number of classes.
    """
    return IndexedImage(labels.astype(np.uint8), class_colors.repeat_colors(num_classes))


def crop_padding(label_map: np.ndarray) -> np.ndarray:
    """Return a label map (H, W) without the ``IGNORE_INDEX`` at its end that pads it to the size of others."""
    height, width = (int((line != IGNORE_INDEX).sum()) for line in (label_map[:, 0], label_map[0]))
    return label_map[:height, :width]


def decode_label_maps(
    labels: Tensor,
    columns: dict[str, Column],
    paths: Sequence[str],
    class_names: Sequence[Any],
    encode: EncodeMask,
    target: Tensor | None = None,
) -> DecodedPrediction:
    """Convert label maps to masks, and to columns with their path, size and the share of pixels of each class.

    Args:
        labels: Class of each pixel, (K, H, W), padded at the end with ``IGNORE_INDEX``.
        columns: Columns that identify the K images.
        paths: Path of each mask relative to the folder of masks, without suffix.
        class_names: Names of the C classes.
        encode: Function from the class of each pixel of one image to the pixels of its mask.
        target: True class of each pixel, (K, H, W), for a column with the share of correct pixels.
    """
    maps = [crop_padding(label_map) for label_map in labels.cpu().numpy()]
    files = [f"{MASK_DIR}/{path}{SUFFIX}" for path in paths]
    shares = np.stack([_count_shares(label_map, len(class_names)) for label_map in maps])
    columns = columns | {
        "mask": files,
        "width": [label_map.shape[1] for label_map in maps],
        "height": [label_map.shape[0] for label_map in maps],
    }
    columns |= {f"share_{name}": shares[:, index] for index, name in enumerate(class_names)}
    if target is not None:
        columns["pixel_accuracy"] = [
            _share_of_correct(label_map, truth) for label_map, truth in zip(maps, target.cpu().numpy(), strict=True)
        ]
    return DecodedPrediction(columns, dict(zip(files, map(encode, maps), strict=True)))


def _count_shares(label_map: np.ndarray, num_classes: int) -> np.ndarray:
    counts = np.zeros(num_classes, np.int64)
    for line in label_map:  # by row, because bincount copies its argument to int64
        counts += np.bincount(line, minlength=num_classes)
    return counts / label_map.size


def _share_of_correct(label_map: np.ndarray, truth: np.ndarray) -> float:
    """Return the share of correct pixels among those that are not ignored; NaN if all are."""
    cropped = truth[: label_map.shape[0], : label_map.shape[1]]
    valid = cropped != IGNORE_INDEX
    return float((label_map == cropped)[valid].mean()) if valid.any() else float("nan")


def make_mask_paths(names: Sequence[object]) -> list[str]:
    """Return a distinct path without suffix for the mask of each image.

    A file keeps its path without its suffix, such as ``scans/a`` for ``scans/a.jpg``. Files that differ only in their
    suffixes keep these too. Names that are no relative path are replaced by their number.

    Args:
        names: Names of the images: paths relative to a folder, or numbers.
    """
    full_paths = [_clean_path(str(name)) or f"image-{number}" for number, name in enumerate(names)]
    paths = [_strip_suffix(path) for path in full_paths]
    while len(set(map(str.lower, paths))) < len(paths):
        counts = Counter(map(str.lower, paths))
        changed = [longer if counts[path.lower()] > 1 else path for path, longer in zip(paths, full_paths, strict=True)]
        if changed == paths:
            return [f"{path}-{number}" if counts[path.lower()] > 1 else path for number, path in enumerate(paths)]
        paths = changed
    return paths


def _clean_path(name: str) -> str:
    """Return a name as a path below a folder; empty if it is none."""
    path = PurePosixPath(name)
    is_relative = not path.is_absolute() and ".." not in path.parts and "\0" not in name and "\\" not in name
    return str(path) if path.name and is_relative else ""


def _strip_suffix(path: str) -> str:
    stem, suffix = os.path.splitext(path)
    return stem if suffix[1:].isalnum() else path
