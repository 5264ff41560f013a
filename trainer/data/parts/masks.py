"""Masks: pictures whose values are the classes of another picture's pixels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from trainer.batch import IGNORE
from trainer.data.parts import class_folders, pictures, plain
from trainer.errors import ConfigError

MOST = 64
"""Different values a mask may hold: more are the shades of a smoothed or JPEG-compressed edge."""
DEPTH = 1 << 16


class Pair(NamedTuple):
    """A picture and its mask."""

    image: Path
    mask: Path


class Survey(NamedTuple):
    """The head of a pair's picture, and how many pixels of each value the mask has, as it is looked at."""

    head: pictures.Head
    counts: Counter[int]


@dataclass(frozen=True)
class Key:
    """Which values of the masks are classes: ``values`` in order are 0, 1, ...; all others do not count."""

    values: Sequence[int]

    def table(self) -> Tensor:
        """The class of every value, (DEPTH,) int8."""
        table = torch.full((DEPTH,), IGNORE, dtype=torch.int8)
        table[torch.tensor(self.values)] = torch.arange(len(self.values), dtype=torch.int8)
        return table

    def counts(self, totals: Mapping[int, int]) -> Tensor:
        """How many pixels of each class (C,)."""
        return torch.tensor([totals[value] for value in self.values])

    def known(self, totals: Mapping[int, int]) -> Tensor:
        """Each target once, (1, K)."""
        classes = [number for number, value in enumerate(self.values) if value in totals]
        return torch.tensor([classes + [IGNORE] * (not set(totals) <= set(self.values))])


def pairs(folder: Path) -> list[Pair]:
    """Pictures in ``images/`` and masks in ``masks/`` whose names but for the ending are the same.

    Raises ConfigError for a folder that lacks one, and for a picture or mask without its like.
    """
    sides: list[dict[str, Path]] = []
    for name in ("images", "masks"):
        inside = folder / name
        if not inside.is_dir():
            there = plain.shown(sorted(path.name for path in folder.iterdir())) or "nothing"
            raise ConfigError(f"data.path: {folder.absolute()} must have images/ and masks/; it has {there}")
        found = class_folders.listed(inside, pictures.ENDINGS)
        if not found:
            raise ConfigError(f"data.path: {inside.absolute()} has no {'/'.join(pictures.ENDINGS)} files")
        sides.append({path.stem: path for path in found})
        if len(sides[-1]) < len(found):
            double = next(path for path in found if sides[-1][path.stem] != path)
            raise ConfigError(f"data.path: {double.absolute()} and {sides[-1][double.stem].name} have one name")
    images, masks = sides
    alone = sorted(str(side[stem]) for side in sides for stem in images.keys() ^ masks.keys() if stem in side)
    if alone:
        raise ConfigError(
            f"data.path: {len(alone)} files of {folder.absolute()} have no mask or no picture of the same name:"
            f" {plain.shown(alone, pictures.SHOWN)}"
        )
    return [Pair(images[stem], masks[stem]) for stem in sorted(images)]


def survey(pair: Pair, view: pictures.View) -> Survey:
    """Raises ConfigError for a mask that is none, and for one of another size than its picture."""
    head, values = pictures.head(pair.image), _values(pair.mask)
    height, width = values.shape
    if (height, width) != (head.height, head.width):
        raise ConfigError(
            f"{pair.mask.absolute()} is {width} x {height} pixels, its picture {head.width} x {head.height}"
        )
    if (shades := len(np.unique(values))) > MOST:
        raise ConfigError(
            f"{pair.mask.absolute()} has {shades} different values (at most {MOST}): smoothed, or compressed as JPEG?"
        )
    seen, counts = np.unique(_fitted(values, view), return_counts=True)
    return Survey(head, Counter(dict(zip(seen.tolist(), counts.tolist(), strict=True))))


def total(surveys: Iterable[Survey]) -> Counter[int]:
    """How many pixels of each value the masks have together."""
    return sum((each.counts for each in surveys), Counter())


def decode(path: Path, view: pictures.View, table: Tensor) -> Tensor:
    """The class of each pixel, (H, W) int8."""
    return table[torch.from_numpy(_fitted(_values(path), view).astype(np.int64))]


def _values(path: Path) -> np.ndarray:
    """What the file stores for each pixel, (H, W) of 8 or 16 bits: grey, 0 and 1, or the place in a palette."""
    from PIL import ImageOps

    with pictures.opened(path) as image:
        values = np.asarray(ImageOps.exif_transpose(image))
        if image.mode in ("LA", "RGB", "RGBA"):
            shades = values[..., : len(image.getbands()) - image.mode.endswith("A")]
            if (shades != shades[..., :1]).any():
                raise ValueError("it is a colour picture; a mask must be grey, of a palette, or of 1 bit")
            values = shades[..., 0]
        return pictures.unsigned(values)


def _fitted(values: np.ndarray, view: pictures.View) -> np.ndarray:
    from PIL import Image

    return np.array(pictures.fitted(Image.fromarray(values), view, Image.Resampling.NEAREST))
