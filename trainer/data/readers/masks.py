"""Segmentation masks: pairing with images, and detection of lossy masks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from trainer.data.readers import file_listing, image_file, text_file
from trainer.data.readers.mask_file import NUM_LEVELS, ImageMaskPair, read_values, resize_mask
from trainer.utils.errors import DataError
from trainer.utils.text import join_names

MAX_VALUES = 64
"""Maximum number of distinct mask values; more are shades of smoothed or JPEG-compressed edges."""
MIN_SHADE_FRACTION = 0.5
"""Fraction of pixels between a lower and a higher neighbor from which a value is a shade; classes have less than .4."""
MAX_SHADES = 3
"""Number of shades that indicates smoothed edges; one or two may be thin classes."""
NEAR_DISTANCE, FREQUENCY_RATIO, WIDE_DISTANCE = 8, 4, 64
"""A value is a JPEG artifact if one within this distance is this much more frequent and values span this range."""
NEAR_VALUES_HINT = "are close to a much more frequent one"
MIN_CLASS_DISTANCE = 4 * NEAR_DISTANCE
"""Minimum distance of classes; if several of them have artifacts, the mask was JPEG-compressed."""
RARE_FRACTION, SCARCE_FRACTION = 1e-4, 0.01
"""Fractions of all pixels below which a value, and one that looks like a shade, is reported."""
log = logging.getLogger(__name__)


class MaskSurvey(NamedTuple):
    """Image header and pixel counts of the mask by value.

    Args:
        header: Header of the image.
        counts: Pixels of each mask value, after resizing.
        stored_counts: Pixels of each mask value in the file.
        intermediate_counts: Pixels of each value between a lower and a higher neighbor.
        is_jpeg: Whether the mask is JPEG, which is lossy.
    """

    header: image_file.ImageHeader
    counts: Counter[int]
    stored_counts: Counter[int]
    intermediate_counts: Counter[int]
    is_jpeg: bool = False


def find_pairs(folder: Path, option: str = "path") -> list[ImageMaskPair]:
    """Pair images in ``images/`` with masks in ``masks/`` by file name without extension.

    Args:
        folder: Folder with both.
        option: Option named in error messages.

    Raises:
        DataError: A folder is missing, or an image or mask has no counterpart.
    """
    paths_by_stem: list[dict[str, Path]] = []
    for name in ("images", "masks"):
        subfolder = folder / name
        if not subfolder.is_dir():
            entries = join_names(path.name for path in text_file.list_folder(folder, option)) or "nothing"
            raise DataError(f"{option}: {folder.absolute()} must have images/ and masks/; found: {entries}")
        files = file_listing.list_files(subfolder, image_file.FILE_EXTENSIONS)
        if not files:
            raise DataError(f"{option}: {subfolder.absolute()} has no {'/'.join(image_file.FILE_EXTENSIONS)} files")
        paths_by_stem.append({path.stem: path for path in files})
        if len(paths_by_stem[-1]) < len(files):
            duplicate = next(path for path in files if paths_by_stem[-1][path.stem] != path)
            raise DataError(
                f"{option}: {duplicate.absolute()} and {paths_by_stem[-1][duplicate.stem].name} have the same name"
            )
    file_listing.warn_about_ignored_files(folder, (folder / "images", folder / "masks"), image_file.FILE_EXTENSIONS)
    images, masks = paths_by_stem
    unmatched = sorted(
        str(paths[stem]) for paths in paths_by_stem for stem in images.keys() ^ masks.keys() if stem in paths
    )
    if unmatched:
        raise DataError(
            f"{option}: {len(unmatched)} files of {folder.absolute()} have no mask or no image of the same name:"
            f" {join_names(unmatched, image_file.MAX_NAMED_FILES)}"
        )
    return [ImageMaskPair(images[stem], masks[stem]) for stem in sorted(images)]


def survey_pair(
    pair: ImageMaskPair, view: image_file.ImageView, ignore: int | None = None, any_shades: bool = False
) -> MaskSurvey:
    """Inspect an image and its mask.

    Args:
        pair: Image and mask.
        view: Size of the decoded mask.
        ignore: Mask value that is no class.
        any_shades: Whether the mask may have values other than the classes.

    Raises:
        DataError: The mask is invalid or differs in size from the image.
    """
    header, values = image_file.read_header(pair.image), read_values(pair.mask)
    height, width = values.shape
    if (height, width) != (header.height, header.width):
        raise DataError(
            f"{pair.mask.absolute()} is {width} x {height} pixels, its image {header.width} x {header.height}"
        )
    counts, intermediate, is_jpeg = _count_values(values), Counter[int](), False
    if len(counts) > 2 and not any_shades:
        is_jpeg = image_file.is_jpeg(pair.mask)
        intermediate = _count_values(values[_intermediate_mask(values, ignore)])
        if len(counts) > MAX_VALUES and 2 * len(_find_shades(counts, intermediate)) < len(counts):
            raise DataError(
                f"{pair.mask.absolute()} has {len(counts)} distinct values (at most {MAX_VALUES}) and may not be a"
                " mask; data.values=[...] sets the classes and maps all others to the nearest"
            )
    return MaskSurvey(header, _count_values(resize_mask(values, view)), counts, intermediate, is_jpeg)


def _count_values(values: np.ndarray) -> Counter[int]:
    distinct, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(distinct.tolist(), counts.tolist(), strict=True)))


def _intermediate_mask(values: np.ndarray, ignore: int | None) -> np.ndarray:
    """Return a mask (H, W) of pixels with both a lower and a higher value among their eight neighbors."""
    padded = np.pad(values.astype(np.int32), 1, mode="edge")
    low = padded if ignore is None else np.where(padded == ignore, NUM_LEVELS, padded)
    high = padded if ignore is None else np.where(padded == ignore, -1, padded)
    height, width = values.shape
    windows = [(slice(i, i + height), slice(j, j + width)) for i in range(3) for j in range(3)]
    minimum = np.minimum.reduce([low[window] for window in windows])
    maximum = np.maximum.reduce([high[window] for window in windows])
    return (minimum < values) & (values < maximum)


def _find_shades(counts: Counter[int], intermediate: Counter[int]) -> list[int]:
    return [value for value, count in sorted(counts.items()) if intermediate[value] >= MIN_SHADE_FRACTION * count]


def _find_strays(counts: Counter[int]) -> list[int]:
    values = sorted(counts)
    if values[-1] - values[0] < WIDE_DISTANCE or values[-1] > 255:
        return []
    return [
        value
        for value in values
        if any(
            abs(neighbor - value) <= NEAR_DISTANCE and counts[neighbor] >= FREQUENCY_RATIO * counts[value]
            for neighbor in values
        )
    ]


def _has_jpeg_artifacts(values: Sequence[int], strays: Sequence[int]) -> bool:
    """Return whether several of a few distant values have artifacts next to them."""
    main_values = [value for value in values if value not in strays]
    neighbors = {min(main_values, key=lambda value: abs(value - stray)) for stray in strays}
    return len(neighbors) > 1 and all(high - low >= MIN_CLASS_DISTANCE for low, high in pairwise(main_values))


def check_shades(masks: Sequence[Path], surveys: Sequence[MaskSurvey], ignore: int | None) -> None:
    """Check masks for shades of smoothed edges and JPEG artifacts; log rare values.

    Args:
        masks: Mask files.
        surveys: Pixel counts of each mask.
        ignore: Mask value that is no class.

    Raises:
        DataError: Several values occur only between others, or next to more frequent ones as left by JPEG.
    """
    counts, intermediate = (
        sum((getattr(survey, name) for survey in surveys), Counter[int]())
        for name in ("stored_counts", "intermediate_counts")
    )
    if ignore is not None:
        counts.pop(ignore, None)
    pixels, values = counts.total(), sorted(counts)
    shades, strays = _find_shades(counts, intermediate), _find_strays(counts)
    class_values = [
        value for value in values if value not in {*shades, *strays} and counts[value] >= SCARCE_FRACTION * pixels
    ]
    remedy = f"data.values={class_values if len(class_values) > 1 else [values[0], values[-1]]}".replace(" ", "")
    is_soft, is_jpeg = len(shades) >= MAX_SHADES, any(survey.is_jpeg for survey in surveys)
    if is_soft or (strays and (is_jpeg or _has_jpeg_artifacts(values, strays))):
        invalid, reason = (
            (shades, "occur only between a lower and a higher one") if is_soft else (strays, NEAR_VALUES_HINT)
        )
        worst_path, num_distinct = max(
            zip(masks, (len(survey.stored_counts) for survey in surveys), strict=True), key=lambda pair: pair[1]
        )
        raise DataError(
            f"path: of the {len(values)} values in the masks {len(invalid)} {reason}"
            f" (such as {', '.join(map(str, invalid[:5]))}; {worst_path.absolute()} has {num_distinct} distinct values)"
            ": shades of smoothed edges or of JPEG are not classes;"
            f" {remedy} maps all others to the nearest of these; if all are classes, list all of them"
        )
    for value in values:
        if counts[value] < (SCARCE_FRACTION if value in shades else RARE_FRACTION) * pixels:
            log.warning(
                "the mask value %d is a class with %d of %d pixels, in %d of %d masks; if it is an artifact, %s maps it"
                " to the nearest class",
                *(
                    value,
                    counts[value],
                    pixels,
                    sum(value in survey.stored_counts for survey in surveys),
                    len(surveys),
                    remedy,
                ),
            )


def sum_counts(surveys: Iterable[MaskSurvey]) -> Counter[int]:
    """Sum the pixel counts of masks by value."""
    return sum((survey.counts for survey in surveys), Counter())
