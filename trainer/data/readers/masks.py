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

from trainer.core.batch import IGNORE
from trainer.data.readers import class_folders, image_file, text_file
from trainer.utils.errors import ConfigError

MOST = 64
"""Different values a mask may hold: more are the shades of a smoothed or JPEG-compressed edge."""
DEPTH = 1 << 16
SHADE = 0.5
"""A value is a shade if this share of its pixels lie between a lower and a higher one: of classes less than .4 do."""
FEW_SHADES = 3
"""So many are an edge; one or two may be thin classes."""
NEAR, COMMONER, WIDE = 8, 4, 64
"""A value is a stray if one so near is so much commoner, where the values span so much: JPEG exchanges such."""
BESIDE = "lie close beside one that is far commoner"
APART = 4 * NEAR
"""Classes so far from each other, of which several have strays, tell that a mask went through JPEG."""
RARE, SCARCE = 1e-4, 0.01
"""Shares of all pixels below which a value, and one that looks like a shade, is told."""
log = logging.getLogger(__name__)


class Pair(NamedTuple):
    """A picture and its mask."""

    image: Path
    mask: Path


class Survey(NamedTuple):
    """The head of a pair's picture, and how many pixels of each value the mask has, as it is looked at.

    stored, between: how many the file has, and how many of these lie between a lower and a higher neighbor. is_jpeg:
    whether the file is one, which does not keep values.
    """

    head: image_file.Head
    counts: Counter[int]
    stored: Counter[int]
    between: Counter[int]
    is_jpeg: bool = False


@dataclass(frozen=True)
class Key:
    """Which values of the masks are classes: ``values`` in order are 0, 1, ...; all others do not count, or are the
    ``nearest`` of them unless they are to ``ignore``."""

    values: Sequence[int]
    ignore: int | None = None
    nearest: bool = False

    def table(self) -> Tensor:
        """The class of every value, (DEPTH,) int8."""
        values = torch.tensor(self.values)
        table = torch.full((DEPTH,), IGNORE, dtype=torch.int8)
        if self.nearest:
            table = (torch.arange(DEPTH)[:, None] - values).abs().argmin(1).to(torch.int8)
        else:
            table[values] = torch.arange(len(values), dtype=torch.int8)
        if self.ignore is not None and self.ignore < DEPTH:
            table[self.ignore] = IGNORE
        return table

    def counts(self, totals: Mapping[int, int]) -> Tensor:
        """How many pixels of each class (C,)."""
        table, counts = self.table(), torch.zeros(len(self.values), dtype=torch.long)
        for value, count in totals.items():
            if table[value] != IGNORE:
                counts[int(table[value])] += count
        return counts

    def known(self, totals: Mapping[int, int]) -> Tensor:
        """Each target once, (1, K)."""
        classes = set(self.table()[torch.tensor(sorted(totals))].tolist())
        return torch.tensor([sorted(classes, key=lambda number: (number == IGNORE, number))])


def pairs(folder: Path) -> list[Pair]:
    """Pictures in ``images/`` and masks in ``masks/`` whose names but for the ending are the same.

    Raises ConfigError for a folder that lacks one, and for a picture or mask without its like.
    """
    sides: list[dict[str, Path]] = []
    for name in ("images", "masks"):
        inside = folder / name
        if not inside.is_dir():
            there = text_file.shown(path.name for path in text_file.list_folder(folder)) or "nothing"
            raise ConfigError(f"data.path: {folder.absolute()} must have images/ and masks/; it has {there}")
        found = class_folders.listed(inside, image_file.ENDINGS)
        if not found:
            raise ConfigError(f"data.path: {inside.absolute()} has no {'/'.join(image_file.ENDINGS)} files")
        sides.append({path.stem: path for path in found})
        if len(sides[-1]) < len(found):
            double = next(path for path in found if sides[-1][path.stem] != path)
            raise ConfigError(f"data.path: {double.absolute()} and {sides[-1][double.stem].name} have one name")
    class_folders.tell_left_out(folder, (folder / "images", folder / "masks"), image_file.ENDINGS)
    images, masks = sides
    alone = sorted(str(side[stem]) for side in sides for stem in images.keys() ^ masks.keys() if stem in side)
    if alone:
        raise ConfigError(
            f"data.path: {len(alone)} files of {folder.absolute()} have no mask or no picture of the same name:"
            f" {text_file.shown(alone, image_file.SHOWN)}"
        )
    return [Pair(images[stem], masks[stem]) for stem in sorted(images)]


def survey(pair: Pair, view: image_file.View, ignore: int | None = None, any_shades: bool = False) -> Survey:
    """What a pair is seen to be, of a mask that may have ``any_shades`` or only so many as there are classes.

    Raises ConfigError for a mask that is none, and for one of another size than its picture.
    """
    head, values = image_file.head(pair.image), _values(pair.mask)
    height, width = values.shape
    if (height, width) != (head.height, head.width):
        raise ConfigError(
            f"{pair.mask.absolute()} is {width} x {height} pixels, its picture {head.width} x {head.height}"
        )
    stored, between, is_jpeg = _counted(values), Counter[int](), False
    if len(stored) > 2 and not any_shades:
        is_jpeg = image_file.is_jpeg(pair.mask)
        between = _counted(values[_between(values, ignore)])
        if len(stored) > MOST and 2 * len(_shades(stored, between)) < len(stored):
            raise ConfigError(
                f"{pair.mask.absolute()} has {len(stored)} different values (at most {MOST}): is it a mask?"
                " data.values=[...] says which are classes, and takes all others for the nearest"
            )
    return Survey(head, _counted(_fitted(values, view)), stored, between, is_jpeg)


def _counted(values: np.ndarray) -> Counter[int]:
    found, counts = np.unique(values, return_counts=True)
    return Counter(dict(zip(found.tolist(), counts.tolist(), strict=True)))


def _between(values: np.ndarray, ignore: int | None) -> np.ndarray:
    """Whether a pixel has both a lower and a higher one among its eight neighbors, (H, W)."""
    padded = np.pad(values.astype(np.int32), 1, mode="edge")
    low = padded if ignore is None else np.where(padded == ignore, DEPTH, padded)
    high = padded if ignore is None else np.where(padded == ignore, -1, padded)
    height, width = values.shape
    windows = [(slice(i, i + height), slice(j, j + width)) for i in range(3) for j in range(3)]
    least = np.minimum.reduce([low[window] for window in windows])
    most = np.maximum.reduce([high[window] for window in windows])
    return (least < values) & (values < most)


def _shades(counts: Counter[int], between: Counter[int]) -> list[int]:
    return [value for value, count in sorted(counts.items()) if between[value] >= SHADE * count]


def _strays(counts: Counter[int]) -> list[int]:
    values = sorted(counts)
    if values[-1] - values[0] < WIDE or values[-1] > 255:
        return []
    return [
        value
        for value in values
        if any(abs(other - value) <= NEAR and counts[other] >= COMMONER * counts[value] for other in values)
    ]


def _went_through_jpeg(values: Sequence[int], strays: Sequence[int]) -> bool:
    """Whether several of a few values that lie far apart have strays beside them."""
    kept = [value for value in values if value not in strays]
    beside = {min(kept, key=lambda value: abs(value - stray)) for stray in strays}
    return len(beside) > 1 and all(after - before >= APART for before, after in pairwise(kept))


def check_shades(masks: Sequence[Path], surveys: Sequence[Survey], ignore: int | None) -> None:
    """Raises ConfigError where several values occur only between others, or beside commoner ones as JPEG leaves them;
    says in the log which are rare."""
    counts, between = (sum((getattr(each, name) for each in surveys), Counter[int]()) for name in ("stored", "between"))
    counts.pop(ignore, None)  # type: ignore[arg-type]
    pixels, values = counts.total(), sorted(counts)
    shades, strays = _shades(counts, between), _strays(counts)
    main = [value for value in values if value not in {*shades, *strays} and counts[value] >= SCARCE * pixels]
    remedy = f"data.values={main if len(main) > 1 else [values[0], values[-1]]}".replace(" ", "")
    is_soft, is_jpeg = len(shades) >= FEW_SHADES, any(each.is_jpeg for each in surveys)
    if is_soft or (strays and (is_jpeg or _went_through_jpeg(values, strays))):
        found, where = (shades, "occur only where a lower one meets a higher") if is_soft else (strays, BESIDE)
        worst, most = max(zip(masks, (len(each.stored) for each in surveys), strict=True), key=lambda pair: pair[1])
        raise ConfigError(
            f"data.path: of the {len(values)} values in the masks {len(found)} {where}"
            f" (such as {', '.join(map(str, found[:5]))}; {worst.absolute()} has {most} different values):"
            " shades of a smoothed edge or of JPEG are no classes;"
            f" {remedy} takes all others for the nearest of these; if all are classes, list them all there"
        )
    for value in values:
        if counts[value] < (SCARCE if value in shades else RARE) * pixels:
            log.warning(
                "the mask value %d is a class with %d of %d pixels, in %d of %d masks; if it is a stray shade, %s takes"
                " it for the nearest",
                *(value, counts[value], pixels, sum(value in each.stored for each in surveys), len(surveys), remedy),
            )


def total(surveys: Iterable[Survey]) -> Counter[int]:
    """How many pixels of each value the masks have together."""
    return sum((each.counts for each in surveys), Counter())


def decode(path: Path, view: image_file.View, table: Tensor) -> Tensor:
    """The class of each pixel, (H, W) int8."""
    return table[torch.from_numpy(_fitted(_values(path), view).astype(np.int64))]


def _values(path: Path) -> np.ndarray:
    """What the file stores for each pixel, (H, W) of 8 or 16 bits: grey, 0 and 1, or the place in a palette."""
    from PIL import ImageOps

    with image_file.opened(path) as image:
        values = np.asarray(ImageOps.exif_transpose(image))
        if image.mode in ("LA", "RGB", "RGBA"):
            shades = values[..., : len(image.getbands()) - image.mode.endswith("A")]
            if (shades != shades[..., :1]).any():
                raise ValueError("it is a colour picture; a mask must be grey, of a palette, or of 1 bit")
            values = shades[..., 0]
        return image_file.unsigned(values)


def _fitted(values: np.ndarray, view: image_file.View) -> np.ndarray:
    from PIL import Image

    return np.array(image_file.fitted(Image.fromarray(values), view, Image.Resampling.NEAREST))
