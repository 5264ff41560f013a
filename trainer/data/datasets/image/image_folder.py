"""Pictures of the user's and their classes."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import torch

from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.preprocessing import Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding import image_traits
from trainer.data.generators import image_patterns
from trainer.data.readers import class_folders, image_file
from trainer.data.reference import baselines
from trainer.data.splits import image_splits


class ImageFolder(Dataset):
    """Pictures in ``CLASS/*.png`` (or jpg, bmp, gif, tif, webp, ppm), every class split by the same shares; or in
    ``train/CLASS`` and ``val/CLASS``, ``test/CLASS`` or both, of which a missing one is a share of ``train``. Upright,
    the first frame of several, on white where they are transparent, and grey where all of training are. Each channel
    has mean 0 and standard deviation 1 over a sample of the training pictures.

    Raises ConfigError for a folder that is not there or laid out in another way, for pictures that cannot be read,
    and for a class without one in each split.
    """

    shapes = "x (B, C, H, W) -> (B)"

    file_suffixes = image_file.FILE_EXTENSIONS

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
        found, names = class_folders.find_labeled_files(folder, self.file_suffixes)
        words = [picture.parent.name for picture, _ in found]
        names, found, labels = class_folders.restore_class_order(fitted, names, found, words)
        given = torch.tensor([split for _, split in found])
        keys = class_folders.file_keys(folder, found)
        rows = fitted.split_rows(keys, lambda: class_folders.split_every_class(given, labels, names, val, test, seed))
        counts = [len(part) for part in rows]
        labels = labels[torch.cat(rows)]
        paths = [found[row][0] for row in torch.cat(rows).tolist()]
        colour = image_file.ImageView(3, size, fit)
        whole = (
            partial(image_file.decode, view=colour)
            if len(paths) * 3 * size**2 <= cache_gb * image_splits.GIGABYTE
            else None
        )
        heads = image_file.map_in_threads(image_file.read_header, paths, later=whole)
        image_file.warn_about_duplicates(paths, counts[0])
        view = image_traits.get_or_fit_view(fitted, colour, paths[: counts[0]], heads[: counts[0]], channels)
        x = image_file.LazyImages(paths, partial(image_file.decode, view=view), (view.channels, size, size))
        self.train, self.val, self.test = image_splits.make_image_splits(
            fitted, x, labels, counts, labels.split(counts), cache_gb
        )
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x[torch.tensor([0])], len(names)),
            baseline=baselines.majority_class(self.train, self.test, len(names)),
            bounds=self.train.scale.pixel_bounds,
            class_names=names,
        )

    def read(self, path: str) -> image_splits.NamedPixelSplit:
        assert self.fitted is not None
        view = image_file.ImageView(**self.fitted.values["view"])
        return image_splits.read(path, self.info, view.fit, view.window)
