"""Image classification from class folders."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import torch

from trainer.core.dataset_info import DatasetInfo, ImageInfo
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding import image_traits
from trainer.data.generators import image_patterns
from trainer.data.readers import class_folders, image_duplicates, image_file
from trainer.data.readers.lazy_images import LazyImages
from trainer.data.reference import baselines
from trainer.data.splits import image_inputs, image_splits
from trainer.data.splits.image_inputs import FixedSizeImageDataset, NamedPixelSplit


class ImageFolder(FixedSizeImageDataset):
    """Image classification from image files in class folders.

    Images are in ``CLASS/*.png`` (or jpg, bmp, gif, tif, webp, ppm), with stratified random splits; or in
    ``train/CLASS`` and ``val/CLASS``, ``test/CLASS`` or both, where a missing split is taken from ``train``. EXIF
    orientation is applied, only the first frame is read, transparency becomes white, and images are grayscale where all
    training images are. Each channel has mean 0 and standard deviation 1 over a sample of the training images.

    Args:
        path: Directory of the class folders.
        size: Height and width in pixels after resizing.
        fit: Treatment of the aspect ratio: crop the longer side, pad the shorter one with black, or stretch.
        channels: 1 (grayscale) or 3 (color); None for 1 where all training images are grayscale.
        val: Fraction of the images for validation, without a directory ``val``.
        test: Fraction of the images for test, without a directory ``test``.
        seed: Random seed of the split.
        cache_gb: Memory for decoded images in GB; images beyond it are decoded on access.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: The folder is missing or has another layout, an image cannot be read, or a class has no image in
            some split.
    """

    shapes = "x (B, C, H, W) -> (B)"

    file_suffixes = image_file.FILE_EXTENSIONS
    reads_idx_files = False
    reusable_values = MappingProxyType(dict.fromkeys(("view", "scale"), ("size", "fit", "channels")))

    def __init__(
        self,
        path: DataPath,
        size: PositiveInt = 64,
        fit: Literal["cut", "pad", "stretch"] = "cut",
        channels: Literal[1, 3] | None = None,
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        seed: NonNegativeInt = 0,
        cache_gb: NonNegativeFloat = 2.0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        folder = Path(path).expanduser()
        files, names = class_folders.find_labeled_files(folder, self.file_suffixes)
        class_of_file = [file.parent.name for file, _ in files]
        names, files, labels = class_folders.restore_class_order(fitted, names, files, class_of_file)
        folder_splits = torch.tensor([split for _, split in files])
        keys = class_folders.file_keys(folder, files)
        rows = fitted.split_rows(
            keys, lambda: class_folders.split_every_class(folder_splits, labels, names, val, test, seed)
        )
        counts = [len(part) for part in rows]
        labels = labels[torch.cat(rows)]
        paths = [files[row][0] for row in torch.cat(rows).tolist()]
        color_view = image_file.ImageView(3, size, fit)
        decode_image = (
            partial(image_file.decode, view=color_view)
            if len(paths) * 3 * size**2 <= cache_gb * image_splits.GIGABYTE
            else None
        )
        headers = image_file.map_in_threads(image_file.read_header, paths, later=decode_image)
        image_duplicates.warn_about_duplicates(paths, counts[0])
        view = image_traits.get_or_fit_view(fitted, color_view, paths[: counts[0]], headers[: counts[0]], channels)
        x = LazyImages(paths, partial(image_file.decode, view=view), (view.channels, size, size))
        self.train, self.val, self.test = image_splits.make_image_splits(
            fitted, x, labels, counts, labels.split(counts), cache_gb
        )
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x[torch.tensor([0])], len(names)),
            baseline=baselines.majority_class(self.train, self.test, len(names)),
            image=ImageInfo(bounds=self.train.scale.pixel_bounds),
            class_names=names,
        )

    def read_chunks(
        self, path: str, with_targets: bool = False, on_error: Literal["error", "skip"] = "error"
    ) -> Iterator[NamedPixelSplit]:
        """Read an image file, or the images of a folder and its subfolders; with targets, those of class folders.

        Args:
            path: File or folder.
            with_targets: Read classes from ``CLASS/*.png``.
            on_error: Refuse unreadable files, or skip and list them.

        Raises:
            DataError: The path is missing or has another layout, or images cannot be read.
        """
        class_names = self.info.class_names if with_targets else None
        yield from image_inputs.read_chunks(path, self.get_view(), self.get_scale(), on_error, class_names)

    def get_view(self) -> image_file.ImageView:
        assert self.fitted is not None
        return image_file.ImageView(**self.fitted.get("view"))
