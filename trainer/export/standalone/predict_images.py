"""Predict each image of a folder, or of an IDX file: python predict.py INPUT [OUTPUT.csv]."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from trainer.data.readers import idx_format, image_input
from trainer.data.readers.image_file import ImageView, decode_pixels
from trainer.export.standalone.program import BATCH_SIZE, Rows, main
from trainer.utils.errors import DataError


def read_rows(path: str, encoding: Mapping[str, Any]) -> Iterator[Rows]:
    """Yield the images of a folder and its subfolders, of a file, or of an IDX file, in batches.

    Args:
        path: File or folder.
        encoding: ``view``, the size and channels of an image, ``mean`` and ``std`` of each channel, and whether the run
            ``reads_idx_files``.

    Raises:
        DataError: The path is missing, has no images, or images cannot be read; or Pillow is not installed.
    """
    view = ImageView(
        encoding["view"]["channels"], *(_to_pair(encoding["view"][name]) for name in ("size", "fit", "window"))
    )
    if encoding["reads_idx_files"] and idx_format.is_idx_file(path):
        batches = _read_idx_file(Path(path).expanduser(), view)
    else:
        batches = _read_image_files(path, view)
    mean, std = (np.array(encoding[name], np.float32)[:, None, None] for name in ("mean", "std"))
    for title, names, pixels in batches:
        yield Rows({title: names}, {"x": (pixels.astype(np.float32) - mean) / std})


def _to_pair(value: Any) -> Any:
    """Return a tuple for a list, as which a file of JSON holds it."""
    return tuple(value) if isinstance(value, list) else value


def _read_image_files(path: str, view: ImageView) -> Iterator[tuple[str, list[int | str], np.ndarray]]:
    if find_spec("PIL") is None:
        raise DataError("input: reading image files needs the package Pillow: pip install pillow")
    files = image_input.find_images(path)
    reader = image_input.ImageReader(files, "error")
    groups = image_input.split_evenly(list(reader.read_headers()), BATCH_SIZE)
    for rows, images in reader.iter_groups(groups, partial(decode_pixels, view=view)):
        yield "file", [*files.select_rows(rows).names], np.stack(images)


def _read_idx_file(path: Path, view: ImageView) -> Iterator[tuple[str, list[int | str], np.ndarray]]:
    assert view.shape is not None, "classifiers have inputs of one size"
    first = 1
    for images in idx_format.iter_images(path, BATCH_SIZE, view.shape, image_input.OPTION):
        yield "row", [*range(first, first + len(images))], images[:, None]
        first += len(images)


if __name__ == "__main__":
    sys.exit(main(read_rows, Path(__file__).parent))
