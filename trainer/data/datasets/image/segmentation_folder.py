"""Semantic segmentation from image and mask files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import torch

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.prediction import DecodedPrediction, IndexedImage, Prediction
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.core.split import Split
from trainer.core.types import DataPath, Decay, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding import image_traits, mask_classes, mask_format
from trainer.data.generators import image_patterns
from trainer.data.readers import class_folders, download, image_duplicates, image_file, image_objects, mask_file, masks
from trainer.data.readers.lazy_images import LazyImages
from trainer.data.reference import baselines
from trainer.data.splits import image_splits
from trainer.data.splits.image_windows import ImageWindows
from trainer.data.splits.pixel_scale import PixelScale
from trainer.data.splits.segmentation_inputs import SegmentationInputs, draw_overlays
from trainer.utils.errors import DataError

URL = "https://raw.githubusercontent.com/zhixuhao/unet/b45af4d458437d8281cc218a07fd4380818ece4a/data/membrane/"
SHA256_FILE = Path(__file__).with_name("isbi2012.sha256")
SPLIT_SIZES = (20, 4, 6)


class _SegmentationDataset(Dataset):
    """Base class for images with masks of the same size."""

    def set_splits(
        self,
        fitted: Preprocessing,
        pairs: Sequence[mask_file.ImageMaskPair],
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

        def decode_image(pair: mask_file.ImageMaskPair) -> object:
            return image_file.decode(pair.image, view)

        survey = partial(masks.survey_pair, view=view, ignore=ignore, any_shades=values is not None)
        surveys = image_file.map_in_threads(survey, pairs, later=decode_image if cache_gb else None)
        headers = [each.header for each in surveys]
        shape = view.shape or mask_classes.get_stored_size(fitted, pairs, headers)
        remaining = iter(surveys)
        totals = [masks.sum_counts(islice(remaining, count)) for count in counts]
        if values is None and not fitted.is_stored:
            masks.check_shades([pair.mask for pair in pairs], surveys, ignore)
        class_map = mask_classes.get_or_fit_class_map(fitted, values, masks.sum_counts(surveys), ignore, names)
        names = names or [str(value) for value in class_map.values]
        paths, mask_paths = [pair.image for pair in pairs], [pair.mask for pair in pairs]
        fitted_view = image_traits.get_or_fit_view(fitted, view, paths[: counts[0]], headers[: counts[0]], channels)
        mask_format.fit_mask_format(fitted, mask_paths[: counts[0]])
        image_duplicates.warn_about_duplicates(paths, counts[0])
        x = LazyImages(paths, partial(image_file.decode, view=fitted_view), (fitted_view.channels, *shape))
        y = LazyImages(
            mask_paths, partial(mask_file.decode, view=view, table=class_map.lookup_table()), shape, torch.int8
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
        return self._get_scale().pixel_bounds

    def _get_scale(self) -> PixelScale:
        assert self.fitted is not None
        return PixelScale(**self.fitted.get("scale"))

    @cached_property
    def _mask_format(self) -> mask_format.MaskFormat:
        assert self.fitted is not None
        return mask_format.get_stored_format(self.fitted)

    def read_chunks(
        self,
        path: str,
        with_targets: bool = False,
        on_error: Literal["error", "skip"] = "error",
        window: PositiveInt | None = None,
        overlap: Decay = 0.5,
        overlay: bool = False,
    ) -> Iterator[ImageWindows]:
        """Read an image file, or the images of a folder and its subfolders; with targets, ``images/`` and ``masks/``.

        Larger images than those of training are divided into overlapping windows, smaller ones are reflected.

        Args:
            path: File or folder.
            with_targets: Read the masks too.
            on_error: Refuse unreadable files, or skip and list them.
            window: Side of a window in pixels; None for the size of the training images, which were also tested whole.
            overlap: Fraction of a window that the next one overlaps; the predictions there are blended.
            overlay: Write each image with the predicted classes over it, too.

        Raises:
            DataError: The path is missing or has another layout, or files cannot be read or do not match.
        """
        inputs = self._make_inputs(window, overlap, overlay)
        if not with_targets:
            yield from inputs.read_chunks(path, on_error)
            return
        yield from inputs.read_labeled_chunks(path, on_error, self._get_class_map(), self.options.get("ignore"))

    def encode_rows(self, rows: Any, window: PositiveInt | None = None, overlap: Decay = 0.5) -> ImageWindows:
        """Encode images in memory like their files.

        Args:
            rows: Images, see ``image_objects.convert_all``.
            window: Side of a window in pixels; None for the size of the training images.
            overlap: Fraction of a window that the next one overlaps.
        """
        return self._make_inputs(window, overlap).encode_images(rows)

    def row_schema(self) -> dict[str, Any]:
        return dict(image_objects.ROW_SCHEMA)

    def _make_inputs(
        self, window: int | None = None, overlap: float = 0.5, overlay: bool = False
    ) -> SegmentationInputs:
        assert self.fitted is not None
        view = image_file.ImageView(**self.fitted.get("view"))
        size = (window, window) if window else (self.info.sizes["height"], self.info.sizes["width"])
        return SegmentationInputs(view, self._get_scale(), size, overlap, overlay)

    def _get_class_map(self) -> mask_file.ClassMap:
        assert self.fitted is not None
        return mask_file.ClassMap(**self.fitted.get("classes"))

    def encode_mask(self, labels: np.ndarray) -> np.ndarray | IndexedImage:
        return self._mask_format.encode(labels, self._get_class_map().values)

    def decode_prediction(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        decoded = super().decode_prediction(prediction, split, first)
        if not isinstance(split, ImageWindows) or not split.overlay:
            return decoded
        assert self.fitted is not None
        colors = self._mask_format.get_class_colors(self._get_class_map().values)
        intensity_window = self.fitted.get("view")["window"]
        overlays = draw_overlays(split, prediction["label"], colors, intensity_window)
        return replace(decoded, images={**decoded.images, **overlays})


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
    reusable_values = MappingProxyType(dict.fromkeys(("view", "scale"), ("size", "fit", "channels")))

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

    reusable_values = MappingProxyType(dict.fromkeys(("view", "scale"), ("size",)))

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
            mask_file.ImageMaskPair(folder / f"train/image/{number}.png", folder / f"train/label/{number}.png")
            for number in range(sum(SPLIT_SIZES))
        ]
        view = image_file.ImageView(1, size, "cut")
        self.set_splits(fitted, pairs, SPLIT_SIZES, view, 1, ["membrane", "cell"], None, repeats, cache_gb=1)
