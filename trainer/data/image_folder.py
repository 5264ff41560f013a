"""Pictures of the user's and their classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import torch

from trainer.data.base import Data, Facts
from trainer.data.parts import baselines, class_folders, images, picture_traits, pictures, pixels
from trainer.preprocessing import Preprocessing
from trainer.types import DataPath, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt


class ImageFolder(Data):
    """x (B, C, H, W) -> (B)

    Pictures in ``CLASS/*.png`` (or jpg, bmp, gif, tif, webp, ppm), every class split by the same shares; or in
    ``train/CLASS`` and ``val/CLASS``, ``test/CLASS`` or both, of which a missing one is a share of ``train``. Upright,
    the first frame of several, on white where they are transparent, and grey where all of training are. Each channel
    has mean 0 and standard deviation 1 over a sample of the training pictures.

    Raises ConfigError for a folder that is not there or laid out in another way, for pictures that cannot be read,
    and for a class without one in each split.
    """

    reads = pictures.ENDINGS

    def __init__(
        self,
        path: DataPath,
        size: PositiveInt,
        fit: Literal["cut", "pad", "stretch"],
        channels: Literal[1, 3] | None,
        val: Fraction,
        test: Fraction,
        seed: NonNegativeInt,
        cache_gb: NonNegativeFloat,
        fitted: Preprocessing | None = None,
    ):
        self.fitted = fitted = fitted or Preprocessing()
        folder = Path(path).expanduser()
        found, names = class_folders.find(folder, self.reads)
        words = [picture.parent.name for picture, _ in found]
        names, found, labels = class_folders.as_stored(fitted, names, found, words)
        given = torch.tensor([split for _, split in found])
        keys = class_folders.keys(folder, found)
        rows = fitted.split(keys, lambda: class_folders.share_out(given, labels, names, val, test, seed))
        counts = [len(part) for part in rows]
        labels = labels[torch.cat(rows)]
        paths = [found[row][0] for row in torch.cat(rows).tolist()]
        colour = pictures.View(3, size, fit)
        whole = (
            partial(pictures.decode, view=colour) if len(paths) * 3 * size**2 <= cache_gb * pixels.GIGABYTE else None
        )
        heads = pictures.every(pictures.head, paths, later=whole)
        pictures.warn_of_twins(paths, counts[0])
        view = picture_traits.learned_view(fitted, colour, paths[: counts[0]], heads[: counts[0]], channels)
        x = pictures.Files(paths, partial(pictures.decode, view=view), (view.channels, size, size))
        self.train, self.val, self.test = pixels.splits(fitted, x, labels, counts, labels.split(counts), cache_gb)
        self.facts = Facts(
            sizes=images.sizes(x[torch.tensor([0])], len(names)),
            baseline=baselines.majority(self.train, self.test, len(names)),
            bounds=self.train.scale.bounds,
            class_names=names,
        )

    def read(self, path: str) -> pixels.NamedPixels:
        assert self.fitted is not None
        view = pictures.View(**self.fitted.values["view"])
        return pixels.read(path, self.facts, view.fit, view.window)
