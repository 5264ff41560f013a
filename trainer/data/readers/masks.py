"""Masks: pictures whose values are the classes of another picture's pixels."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.data.readers import class_folders, image_file, text_file
from trainer.utils.errors import ConfigError

MAX_VALUES = 64
"""Different values a mask may hold: more are the shades of a smoothed or JPEG-compressed edge."""
NUM_LEVELS = 1 << 16
MIN_SHADE_FRACTION = 0.5
"""A value is a shade if this share of its pixels lie between a lower and a higher one: of classes less than .4 do."""
MAX_SHADES = 3
"""So many are an edge; one or two may be thin classes."""
NEAR_DISTANCE, FREQUENCY_RATIO, WIDE_DISTANCE = 8, 4, 64
"""A value is a stray if one so near is so much commoner, where the values span so much: JPEG exchanges such."""
NEAR_VALUES_HINT = "lie close beside one that is far commoner"
MIN_CLASS_DISTANCE = 4 * NEAR_DISTANCE
"""Classes so far from each other, of which several have strays, tell that a mask went through JPEG."""
RARE_FRACTION, SCARCE_FRACTION = 1e-4, 0.01
"""Shares of all pixels below which a value, and one that looks like a shade, is told."""
log = logging.getLogger(__name__)


class ImageMaskPair(NamedTuple):
    """A picture and its mask."""

    image: Path
    mask: Path


class MaskSurvey(NamedTuple):
    """The head of a pair's picture, and how many pixels of each value the mask has, as it is looked at.

    stored, between: how many the file has, and how many of these lie between a lower and a higher neighbor. is_jpeg:
    whether the file is one, which does not keep values.
    """

    header: image_file.ImageHeader
    counts: Counter[int]
    stored_counts: Counter[int]
    intermediate_counts: Counter[int]
    is_jpeg: bool = False


@dataclass(frozen=True)
class ClassMap:
    """Which values of the masks are classes: ``values`` in order are 0, 1, ...; all others do not count, or are the
    ``nearest`` of them unless they are to ``ignore``."""

    values: Sequence[int]
    ignore: int | None = None
    nearest: bool = False

    def lookup_table(self) -> Tensor:
        """The class of every value, (DEPTH,) int8."""
        values = torch.tensor(self.values)
        table = torch.full((NUM_LEVELS,), IGNORE_INDEX, dtype=torch.int8)
        if self.nearest:
            table = (torch.arange(NUM_LEVELS)[:, None] - values).abs().argmin(1).to(torch.int8)
        else:
            table[values] = torch.arange(len(values), dtype=torch.int8)
        if self.ignore is not None and self.ignore < NUM_LEVELS:
            table[self.ignore] = IGNORE_INDEX
        return table

    def count_classes(self, totals: Mapping[int, int]) -> Tensor:
        """How many pixels of each class (C,)."""
        table, counts = self.lookup_table(), torch.zeros(len(self.values), dtype=torch.long)
        for value, count in totals.items():
            if table[value] != IGNORE_INDEX:
                counts[int(table[value])] += count
        return counts

    def known_targets(self, totals: Mapping[int, int]) -> Tensor:
        """Each target once, (1, K)."""
        classes = set(self.lookup_table()[torch.tensor(sorted(totals))].tolist())
        return torch.tensor([sorted(classes, key=lambda number: (number == IGNORE_INDEX, number))])


def find_pairs(folder: Path) -> list[ImageMaskPair]:
    """Pictures in ``images/`` and masks in ``masks/`` whose names but for the ending are the same.

    Raises ConfigError for a folder that lacks one, and for a picture or mask without its like.
    """
    sides: list[dict[str, Path]] = []
    for name in ("images", "masks"):
        inside = folder / name
        if not inside.is_dir():
            there = text_file.join_names(path.name for path in text_file.list_folder(folder)) or "nothing"
            raise ConfigError(f"data.path: {folder.absolute()} must have images/ and masks/; it has {there}")
        found = class_folders.list_files(inside, image_file.FILE_EXTENSIONS)
        if not found:
            raise ConfigError(f"data.path: {inside.absolute()} has no {'/'.join(image_file.FILE_EXTENSIONS)} files")
        sides.append({path.stem: path for path in found})
        if len(sides[-1]) < len(found):
            double = next(path for path in found if sides[-1][path.stem] != path)
            raise ConfigError(f"data.path: {double.absolute()} and {sides[-1][double.stem].name} have one name")
    class_folders.warn_about_ignored_files(folder, (folder / "images", folder / "masks"), image_file.FILE_EXTENSIONS)
    images, masks = sides
    alone = sorted(str(side[stem]) for side in sides for stem in images.keys() ^ masks.keys() if stem in side)
    if alone:
        raise ConfigError(
            f"data.path: {len(alone)} files of {folder.absolute()} have no mask or no picture of the same name:"
            f" {text_file.join_names(alone, image_file.MAX_NAMED_FILES)}"
        )
    return [ImageMaskPair(images[stem], masks[stem]) for stem in sorted(images)]


def survey_pair(
    pair: ImageMaskPair, view: image_file.ImageView, ignore: int | None = None, any_shades: bool = False
) -> MaskSurvey:
    """What a pair is seen to be, of a mask that may have ``any_shades`` or only so many as there are classes.

    Raises ConfigError for a mask that is none, and for one of another size than its picture.
    """
    head, values = image_file.read_header(pair.image), _read_values(pair.mask)
    height, width = values.shape
    if (height, width) != (head.height, head.width):
        raise ConfigError(
            f"{pair.mask.absolute()} is {width} x {height} pixels, its picture {head.width} x {head.height}"
        )
    stored, between, is_jpeg = _count_values(values), Counter[int](), False
    if len(stored) > 2 and not any_shades:
        is_jpeg = image_file.is_jpeg(pair.mask)
        between = _count_values(values[_intermediate_mask(values, ignore)])
        if len(stored) > MAX_VALUES and 2 * len(_find_shades(stored, between)) < len(stored):
            raise ConfigError(
                f"{pair.mask.absolute()} has {len(stored)} different values (at most {MAX_VALUES}): is it a mask?"
                " data.values=[...] says which are classes, and takes all others for the nearest"
            )
    return MaskSurvey(head, _count_values(_resize_mask(values, view)), stored, between, is_jpeg)


def _count_values(values: np.ndarray) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _intermediate_mask(values: np.ndarray, ignore: int | None) -> np.ndarray:
    """Whether a pixel has both a lower and a higher one among its eight neighbors, (H, W)."""
    padded = np.pad(values.astype(np.int32), 1, mode="edge")
    low = padded if ignore is None else np.where(padded == ignore, NUM_LEVELS, padded)
    high = padded if ignore is None else np.where(padded == ignore, -1, padded)
    height, width = values.shape
    windows = [(slice(i, i + height), slice(j, j + width)) for i in range(3) for j in range(3)]
    least = np.minimum.reduce([low[window] for window in windows])
    most = np.maximum.reduce([high[window] for window in windows])
    return (least < values) & (values < most)


def _find_shades(counts: Counter[int], between: Counter[int]) -> list[int]:
    return [value for value, count in sorted(counts.items()) if between[value] >= MIN_SHADE_FRACTION * count]


def _find_strays(counts: Counter[int]) -> list[int]:
    values = sorted(counts)
    if values[-1] - values[0] < WIDE_DISTANCE or values[-1] > 255:
        return []
    return [
        value
        for value in values
        if any(
            abs(other - value) <= NEAR_DISTANCE and counts[other] >= FREQUENCY_RATIO * counts[value] for other in values
        )
    ]


def _has_jpeg_artifacts(values: Sequence[int], strays: Sequence[int]) -> bool:
    """Whether several of a few values that lie far apart have strays beside them."""
    kept = [value for value in values if value not in strays]
    beside = {min(kept, key=lambda value: abs(value - stray)) for stray in strays}
    return len(beside) > 1 and all(after - before >= MIN_CLASS_DISTANCE for before, after in pairwise(kept))


def check_shades(masks: Sequence[Path], surveys: Sequence[MaskSurvey], ignore: int | None) -> None:
    """Raises ConfigError where several values occur only between others, or beside commoner ones as JPEG leaves them;
    says in the log which are rare."""
    counts, between = (
        sum((getattr(each, name) for each in surveys), Counter[int]())
        for name in ("stored_counts", "intermediate_counts")
    )
    if ignore is not None:
        counts.pop(ignore, None)
    pixels, values = counts.total(), sorted(counts)
    shades, strays = _find_shades(counts, between), _find_strays(counts)
    main = [value for value in values if value not in {*shades, *strays} and counts[value] >= SCARCE_FRACTION * pixels]
    remedy = f"data.values={main if len(main) > 1 else [values[0], values[-1]]}".replace(" ", "")
    is_soft, is_jpeg = len(shades) >= MAX_SHADES, any(each.is_jpeg for each in surveys)
    if is_soft or (strays and (is_jpeg or _has_jpeg_artifacts(values, strays))):
        found, where = (
            (shades, "occur only where a lower one meets a higher") if is_soft else (strays, NEAR_VALUES_HINT)
        )
        worst, most = max(
            zip(masks, (len(each.stored_counts) for each in surveys), strict=True), key=lambda pair: pair[1]
        )
        raise ConfigError(
            f"data.path: of the {len(values)} values in the masks {len(found)} {where}"
            f" (such as {', '.join(map(str, found[:5]))}; {worst.absolute()} has {most} different values):"
            " shades of a smoothed edge or of JPEG are no classes;"
            f" {remedy} takes all others for the nearest of these; if all are classes, list them all there"
        )
    for value in values:
        if counts[value] < (SCARCE_FRACTION if value in shades else RARE_FRACTION) * pixels:
            log.warning(
                "the mask value %d is a class with %d of %d pixels, in %d of %d masks; if it is a stray shade, %s takes"
                " it for the nearest",
                *(
                    value,
                    counts[value],
                    pixels,
                    sum(value in each.stored_counts for each in surveys),
                    len(surveys),
                    remedy,
                ),
            )


def sum_counts(surveys: Iterable[MaskSurvey]) -> Counter[int]:
    """How many pixels of each value the masks have together."""
    return sum((each.counts for each in surveys), Counter())


def decode(path: Path, view: image_file.ImageView, table: Tensor) -> Tensor:
    """The class of each pixel, (H, W) int8."""
    return table[torch.from_numpy(_resize_mask(_read_values(path), view).astype(np.int64))]


def _read_values(path: Path) -> np.ndarray:
    """What the file stores for each pixel, (H, W) of 8 or 16 bits: grey, 0 and 1, or the place in a palette."""
    from PIL import ImageOps

    with image_file.open_image(path) as image:
        values = np.asarray(ImageOps.exif_transpose(image))
        if image.mode in ("LA", "RGB", "RGBA"):
            shades = values[..., : len(image.getbands()) - image.mode.endswith("A")]
            if (shades != shades[..., :1]).any():
                raise ValueError("it is a colour picture; a mask must be grey, of a palette, or of 1 bit")
            values = shades[..., 0]
        return image_file.to_unsigned(values)


def _resize_mask(values: np.ndarray, view: image_file.ImageView) -> np.ndarray:
    from PIL import Image

    return np.array(image_file.resize_image(Image.fromarray(values), view, Image.Resampling.NEAREST))
