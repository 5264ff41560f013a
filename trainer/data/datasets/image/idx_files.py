"""Image classification from IDX files, the format of MNIST."""

from __future__ import annotations

import logging
from pathlib import Path
from types import MappingProxyType

import torch

from trainer.core.dataset_info import DatasetInfo, ImageInfo
from trainer.core.preprocessing import Preprocessing, make_content_keys
from trainer.core.types import DataPath, Fraction, NonNegativeInt
from trainer.data.generators import image_patterns
from trainer.data.readers import idx_format, text_file
from trainer.data.reference import baselines
from trainer.data.splits.image_inputs import FixedSizeImageDataset
from trainer.data.splits.image_splits import PixelSplit
from trainer.data.splits.pixel_scale import PixelScale
from trainer.data.splits.splitting import stratified_order
from trainer.utils.errors import DataError
from trainer.utils.text import join_names

FILE_PREFIXES = {"training": ("train",), "test": ("t10k", "test")}
log = logging.getLogger(__name__)


class IdxFiles(FixedSizeImageDataset):
    """Image classification on MNIST-like data sets (Fashion-MNIST, K-MNIST, EMNIST).

    The four IDX files hold training images, training labels, test images and test labels. Validation is a stratified
    fraction of the training rows. Labels start at 0, or at 1 where none is 0. Images are used as stored (those of
    EMNIST are transposed); pixels have mean 0 and standard deviation 1 over the training rows.

    Args:
        path: Directory of the four files, plain or gzipped.
        prefix: Start of the file names, in a directory with several data sets.
        val: Fraction of the training rows for validation.
        seed: Random seed of the split.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: A file is missing, ambiguous or corrupt.
    """

    shapes = "x (B, C, H, W) -> (B)"

    reusable_values = MappingProxyType({"scale": ()})

    def __init__(
        self,
        path: DataPath,
        prefix: str = "",
        val: Fraction = 0.1,
        seed: NonNegativeInt = 0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        folder = Path(path).expanduser()
        (x, y), (test_x, test_y) = (
            idx_format.read_images_and_labels(
                find_idx_file(folder, prefix, part, "images"), find_idx_file(folder, prefix, part, "labels")
            )
            for part in FILE_PREFIXES
        )
        if x.shape[1:] != test_x.shape[1:]:
            sides = [" x ".join(map(str, images.shape[2:])) for images in (x, test_x)]
            raise DataError(f"path: images in {folder} are {sides[0]} for training but {sides[1]} for test")
        if not len(x) or not len(test_x):
            raise DataError(f"path: {folder} has {len(x)} training images and {len(test_x)} test images")
        first, last = fitted.get_or_fit("labels", lambda: _class_range(torch.cat((y, test_y))))
        out_of_range = (torch.cat((y, test_y)) < first) | (torch.cat((y, test_y)) > last)
        if out_of_range.any():
            raise DataError(f"path: {int(out_of_range.sum())} labels in {folder} are not {first} to {last}")
        if last == first:
            raise DataError(f"path: every label in {folder} is {first}; at least two classes are needed")
        log.info("labels from %d to %d in %s: %d classes", first, last, folder, last - first + 1)
        num_val = round(val * len(x))
        if num_val in (0, len(x)):
            raise DataError(f"val: {val:g} of {len(x)} rows leaves none for {'training' if num_val else 'validation'}")
        keys = make_content_keys(image.numpy().tobytes() for image in (*x, *test_x))

        def make_split() -> list[torch.Tensor]:
            order = stratified_order(y, seed)
            test_rows = torch.arange(len(x), len(x) + len(test_x))
            return [order[: len(x) - num_val].sort().values, order[len(x) - num_val :].sort().values, test_rows]

        parts = fitted.split_rows(keys, make_split)
        scale = PixelScale.get_or_fit(fitted, lambda: PixelScale.from_images(x[parts[0]]))
        x, y = torch.cat((x, test_x)), torch.cat((y, test_y)) - first
        self.train, self.val, self.test = (PixelSplit(x[rows], y[rows], scale) for rows in parts)
        classes = last - first + 1
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x, classes),
            baseline=baselines.majority_class(self.train, self.test, classes),
            image=ImageInfo(bounds=scale.pixel_bounds, blank=scale.black_level),
            class_names=[str(label) for label in range(first, last + 1)],
        )


def _class_range(labels: torch.Tensor) -> list[int]:
    """Return the first and the last class; the first is 0, or 1 where no label is 0."""
    return [min(1, int(labels.min())), int(labels.max())]


def find_idx_file(folder: Path, prefix: str, part: str, kind: str) -> Path:
    """Find a file of images or labels by its name.

    Args:
        folder: Directory of the four files.
        prefix: Start of the file name.
        part: ``training`` or ``test``.
        kind: ``images`` or ``labels``.

    Raises:
        DataError: There is none, or several that are not the compressed and uncompressed version of one file.
    """
    text_file.check_folder(folder, "it must be the folder with the four IDX files")
    candidates = [path for path in text_file.list_folder(folder) if path.name.startswith(prefix)]
    matching = [
        path for path in candidates if kind in path.name and any(word in path.name for word in FILE_PREFIXES[part])
    ]
    matches = {
        path.name.removesuffix(idx_format.GZIP_SUFFIX): path for path in reversed(matching)
    }  # the uncompressed file sorts first and wins
    if len(matches) == 1:
        return next(iter(matches.values()))
    description = f"{kind} for {part} (a name with {' or '.join(FILE_PREFIXES[part])} and {kind})"
    if matches:
        raise DataError(
            f"path: {folder.absolute()} has several files of {description}:"
            f" {join_names(sorted(matches))}; select one by data.prefix, the start of its name"
        )
    listing = join_names(path.name for path in candidates) or "nothing"
    prefix_note = f" with prefix {prefix!r}" if prefix else ""
    raise DataError(f"path: {folder.absolute()} has no file of {description}; found: {listing}{prefix_note}")
