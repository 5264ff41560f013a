"""Semantic segmentation from image and mask files."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Literal

import torch

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding import image_traits
from trainer.data.generators import image_patterns
from trainer.data.readers import class_folders, download, image_file, masks
from trainer.data.reference import baselines
from trainer.data.splits import image_splits
from trainer.data.splits.pixel_scale import PixelScale
from trainer.utils.errors import DataError

URL = "https://raw.githubusercontent.com/zhixuhao/unet/b45af4d458437d8281cc218a07fd4380818ece4a/data/membrane/"
SHA256_FILE = Path(__file__).with_name("isbi2012.sha256")
SPLIT_SIZES = (20, 4, 6)
log = logging.getLogger(__name__)


class _SegmentationDataset(Dataset):
    """Base class for images with masks of the same size."""

    def set_splits(
        self,
        fitted: Preprocessing,
        pairs: Sequence[masks.ImageMaskPair],
        counts: Sequence[int],
        view: image_file.ImageView,
        channels: int | None,
        names: Sequence[str] | None,
        ignore: int | None,
        repeats: int,
        cache_gb: float,
        values: Sequence[int] | None = None,
    ) -> None:
        """Set splits and info.

        Args:
            fitted: Preprocessing of the run.
            pairs: Image and mask files of training, validation and test, in this order.
            counts: Number of pairs in each split.
            view: Size and resize mode.
            channels: 1, 3 or None, see ``SegmentationFolder``.
            names: Class names; None for the mask values.
            ignore: Mask value that is excluded from loss and scores.
            repeats: Number of passes over the training images per epoch.
            cache_gb: Memory for decoded images in GB.
            values: Mask values of the classes; None for all that occur.
        """

        def decode_image(pair: masks.ImageMaskPair) -> object:
            return image_file.decode(pair.image, view)

        survey = partial(masks.survey_pair, view=view, ignore=ignore, any_shades=values is not None)
        surveys = image_file.map_in_threads(survey, pairs, later=decode_image if cache_gb else None)
        headers = [each.header for each in surveys]
        shape = (view.size, view.size) if view.size else _stored_size(fitted, pairs, headers)
        remaining = iter(surveys)
        totals = [masks.sum_counts(islice(remaining, count)) for count in counts]
        if values is None and not fitted.is_stored:
            masks.check_shades([pair.mask for pair in pairs], surveys, ignore)
        class_map = _stored_class_map(fitted, values, masks.sum_counts(surveys), ignore, names)
        names = names or [str(value) for value in class_map.values]
        paths, mask_paths = [pair.image for pair in pairs], [pair.mask for pair in pairs]
        fitted_view = image_traits.get_or_fit_view(fitted, view, paths[: counts[0]], headers[: counts[0]], channels)
        image_file.warn_about_duplicates(paths, counts[0])
        x = image_file.LazyImages(paths, partial(image_file.decode, view=fitted_view), (fitted_view.channels, *shape))
        y = image_file.LazyImages(
            mask_paths, partial(masks.decode, view=view, table=class_map.lookup_table()), shape, torch.int8
        )
        train, self.val, self.test = image_splits.make_image_splits(
            fitted, x, y, counts, [class_map.known_targets(total) for total in totals], cache_gb
        )
        self.train = image_splits.RepeatedSplit(train, repeats)
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x[torch.tensor([0])], len(names)),
            baseline=baselines.majority_pixel_scores(
                class_map.count_classes(totals[0]), class_map.count_classes(totals[2]), names
            ),
            class_names=names,
        )

    def pixel_bounds(self) -> tuple[Sequence[float], Sequence[float]]:
        assert self.fitted is not None
        return PixelScale(**self.fitted.values["scale"]).pixel_bounds


def _common_size(pairs: Sequence[masks.ImageMaskPair], headers: Sequence[image_file.ImageHeader]) -> tuple[int, int]:
    """Return the common height and width. Raises DataError where images differ in size."""
    first = headers[0]
    for pair, header in zip(pairs, headers, strict=True):
        if (header.height, header.width) != (first.height, first.width):
            raise DataError(
                f"size: images differ in size: {pairs[0].image.absolute()} is {first.width} x {first.height},"
                f" {pair.image.absolute()} {header.width} x {header.height}; set data.size to resize all to a square"
            )
    return first.height, first.width


def _stored_size(
    fitted: Preprocessing, pairs: Sequence[masks.ImageMaskPair], headers: Sequence[image_file.ImageHeader]
) -> tuple[int, int]:
    """Return the training image size. Raises DataError for images of another size, and where they differ."""
    size = _common_size(pairs, headers)
    height, width = fitted.get_or_fit("shape", lambda: list(size))
    if size != (height, width):
        raise DataError(f"path: images are {size[1]} x {size[0]}; this run was trained on {width} x {height}")
    return height, width


def _stored_class_map(
    fitted: Preprocessing,
    values: Sequence[int] | None,
    totals: Counter[int],
    ignore: int | None,
    names: Sequence[str] | None,
) -> masks.ClassMap:
    """Return the class map of a run; pixels of unknown values are logged and ignored."""
    class_map = masks.ClassMap(
        **fitted.get_or_fit("classes", lambda: asdict(_make_class_map(values, totals, ignore, names)))
    )
    unknown = {value: count for value, count in totals.items() if value not in class_map.values and value != ignore}
    if fitted.is_stored and unknown and not class_map.nearest:
        listing = ", ".join(map(str, sorted(unknown)[:10]))
        log.warning("%d pixels are ignored: this run has no class for the values %s", sum(unknown.values()), listing)
    return class_map


def _make_class_map(
    values: Sequence[int] | None, totals: Counter[int], ignore: int | None, names: Sequence[str] | None
) -> masks.ClassMap:
    """Build a class map from ``values``, or from all that occur. Raises DataError for invalid classes."""
    if values is None:
        return masks.ClassMap(_class_values(set(totals), ignore, names))
    class_map = masks.ClassMap(_class_values(set(values), ignore, names), ignore, nearest=True)
    counts = class_map.count_classes(totals).tolist()
    if 0 in counts:
        absent = class_map.values[counts.index(0)]
        raise DataError(
            f"values: no mask pixel has the value {absent} or is nearest to it; masks contain {_format_values(totals)}"
        )
    return class_map


def _format_values(values: Collection[int]) -> str:
    return f"the value{'s' * (len(values) != 1)} {', '.join(map(str, sorted(values)[:10]))}"


def _class_values(present: set[int], ignore: int | None, names: Sequence[str] | None) -> list[int]:
    """Return the sorted class values. Raises DataError for invalid ones or a number that differs from the names."""
    values = sorted(present - {ignore})
    description = f"the masks contain {_format_values(values)}"
    if not 2 <= len(values) <= masks.MAX_VALUES:
        raise DataError(f"path: {description} ({len(values)} distinct); there must be 2 to {masks.MAX_VALUES} classes")
    if names is not None and len(names) != len(values):
        raise DataError(
            f"classes: {len(names)} names ({', '.join(names)}), but {description} (classes in this order;"
            " data.ignore excludes a value)"
        )
    return values


class SegmentationFolder(_SegmentationDataset):
    """Semantic segmentation from folders of images and masks.

    Images are in ``images/`` and masks of the same names in ``masks/``, split at random; or both are in ``train/`` and
    ``val/``, ``test/`` or both. Images are read as in ``ImageFolder``; masks are resized by nearest neighbor.

    Args:
        path: Directory of the images and masks.
        classes: Class names in the order of the mask values; None for the values themselves.
        ignore: Mask value that is excluded from loss and scores.
        size: Height and width in pixels after resizing; None for the original size, which all images must share.
        fit: Treatment of the aspect ratio: crop the longer side, or stretch.
        channels: 1 (grayscale) or 3 (color); None for 1 where all training images are grayscale.
        repeats: Number of passes over the training images per epoch.
        values: Mask values (gray, 1 bit or palette indices) of the classes; other values map to the nearest of them. By
            default all values that occur, in ascending order.
        val: Fraction of the images for validation, without a directory ``val``.
        test: Fraction of the images for test, without a directory ``test``.
        seed: Random seed of the split.
        cache_gb: Memory for decoded images in GB; images beyond it are decoded on access.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    Raises:
        DataError: The folder is missing or has another layout, files cannot be read or do not match, or masks contain
            no classes.
    """

    shapes = "x (B, C, H, W) -> (B, H, W)"

    file_suffixes = image_file.FILE_EXTENSIONS

    def __init__(
        self,
        path: DataPath,
        classes: list[str] | None = None,
        ignore: NonNegativeInt | None = None,
        size: PositiveInt | None = None,
        fit: Literal["cut", "stretch"] = "cut",
        channels: Literal[1, 3] | None = None,
        repeats: PositiveInt = 1,
        values: list[NonNegativeInt] | None = None,
        val: Fraction = 0.2,
        test: Fraction = 0.2,
        seed: NonNegativeInt = 0,
        cache_gb: NonNegativeFloat = 2.0,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        folder = Path(path).expanduser()
        folders = class_folders.find_split_folders(folder, "it must be a folder with images/ and masks/")
        pairs_with_splits = [(pair, split) for split, part in folders.items() for pair in masks.find_pairs(part)]
        folder_splits = torch.tensor([split for _, split in pairs_with_splits])
        keys = class_folders.file_keys(folder, [(pair.image, split) for pair, split in pairs_with_splits])
        rows = fitted.split_rows(
            keys,
            lambda: class_folders.split_by_fraction(folder_splits, torch.zeros_like(folder_splits), val, test, seed),
        )
        counts = [len(part) for part in rows]
        if not all(counts):
            empty_split = SPLITS[counts.index(0)]
            raise DataError(f"path: the {empty_split} split is empty ({len(pairs_with_splits)} images in total)")
        pairs = [pairs_with_splits[row][0] for row in torch.cat(rows).tolist()]
        view = image_file.ImageView(1, size, fit)
        self.set_splits(fitted, pairs, counts, view, channels, classes, ignore, repeats, cache_gb, values)


class ISBI2012(_SegmentationDataset):
    """ISBI 2012 challenge: membrane segmentation in electron microscopy.

    30 slices of a Drosophila nerve cord, 512 x 512; each pixel is cell (78 %) or membrane. The challenge did not
    publish labels of its test slices, so the published ones are split: 0 to 19 for training, 20 to 23 for validation,
    24 to 29 for test.

    Args:
        size: Height and width in pixels after resizing; None for the original 512.
        repeats: Number of passes over the training slices per epoch.
        data_dir: Parent directory of ``isbi2012/``; None for the default data directory.
        fitted: Preprocessing of a saved run; None fits it to the training rows.

    References:
        Arganda-Carreras et al. 2015, Crowdsourcing the Creation of Image Segmentation Algorithms for Connectomics,
            Frontiers in Neuroanatomy 9.
    """

    shapes = "x (B, C, H, W) -> (B, H, W)"

    def __init__(
        self,
        size: PositiveInt | None = None,
        repeats: PositiveInt = 16,
        data_dir: str | None = None,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        lines = [line.split() for line in SHA256_FILE.read_text(encoding="utf-8").splitlines()]
        folder = download.fetch_files(
            "isbi2012", [download.Source(path, digest, URL + path) for digest, path in lines], data_dir
        )
        pairs = [
            masks.ImageMaskPair(folder / f"train/image/{number}.png", folder / f"train/label/{number}.png")
            for number in range(sum(SPLIT_SIZES))
        ]
        view = image_file.ImageView(1, size, "cut")
        self.set_splits(fitted, pairs, SPLIT_SIZES, view, 1, ["membrane", "cell"], None, repeats, cache_gb=1)
