"""Pictures with a class for each of their pixels: the user's, and real ones."""

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

from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.core.types import DataPath, Fraction, NonNegativeFloat, NonNegativeInt, PositiveInt
from trainer.data.encoding import image_traits
from trainer.data.generators import image_patterns
from trainer.data.readers import class_folders, download, image_file, masks
from trainer.data.reference import baselines
from trainer.data.splits import image_splits
from trainer.utils.errors import ConfigError

URL = "https://raw.githubusercontent.com/zhixuhao/unet/b45af4d458437d8281cc218a07fd4380818ece4a/data/membrane/"
SHA256_FILE = Path(__file__).with_name("isbi2012.sha256")
SPLIT_SIZES = (20, 4, 6)
log = logging.getLogger(__name__)


class _SegmentationDataset(Dataset):
    """Pictures and a mask of the same size for each."""

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
        """Splits and facts. pairs: of all splits, one behind the other, so many (``counts``) of each."""

        def whole(pair: masks.ImageMaskPair) -> object:
            return image_file.decode(pair.image, view)

        look = partial(masks.survey_pair, view=view, ignore=ignore, any_shades=values is not None)
        surveys = image_file.map_in_threads(look, pairs, later=whole if cache_gb else None)
        heads = [each.header for each in surveys]
        shape = (view.size, view.size) if view.size else _stored_size(fitted, pairs, heads)
        kept = iter(surveys)
        totals = [masks.sum_counts(islice(kept, count)) for count in counts]
        if values is None and not fitted.is_stored:
            masks.check_shades([pair.mask for pair in pairs], surveys, ignore)
        key = _stored_class_map(fitted, values, masks.sum_counts(surveys), ignore, names)
        names = names or [str(value) for value in key.values]
        paths, truths = [pair.image for pair in pairs], [pair.mask for pair in pairs]
        seen = image_traits.get_or_fit_view(fitted, view, paths[: counts[0]], heads[: counts[0]], channels)
        image_file.warn_about_duplicates(paths, counts[0])
        x = image_file.LazyImages(paths, partial(image_file.decode, view=seen), (seen.channels, *shape))
        y = image_file.LazyImages(truths, partial(masks.decode, view=view, table=key.lookup_table()), shape, torch.int8)
        train, self.val, self.test = image_splits.make_image_splits(
            fitted, x, y, counts, [key.known_targets(total) for total in totals], cache_gb
        )
        self.train = image_splits.RepeatedSplit(train, repeats)
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(x[torch.tensor([0])], len(names)),
            baseline=baselines.majority_pixel_scores(key.count_classes(totals[0]), key.count_classes(totals[2]), names),
            class_names=names,
        )

    def pixel_bounds(self) -> tuple[Sequence[float], Sequence[float]]:
        assert self.fitted is not None
        return image_splits.PixelScale(**self.fitted.values["scale"]).pixel_bounds


def _common_size(pairs: Sequence[masks.ImageMaskPair], heads: Sequence[image_file.ImageHeader]) -> tuple[int, int]:
    """Height and width of all. Raises ConfigError where they differ."""
    first = heads[0]
    for pair, head in zip(pairs, heads, strict=True):
        if (head.height, head.width) != (first.height, first.width):
            raise ConfigError(
                f"data.size: pictures differ in size: {pairs[0].image.absolute()} is {first.width} x {first.height},"
                f" {pair.image.absolute()} {head.width} x {head.height}; give the pixels a side that all shall have"
            )
    return first.height, first.width


def _stored_size(
    fitted: Preprocessing, pairs: Sequence[masks.ImageMaskPair], heads: Sequence[image_file.ImageHeader]
) -> tuple[int, int]:
    """The size a run was trained with. Raises ConfigError for pictures of another, and where they differ."""
    size = _common_size(pairs, heads)
    height, width = fitted.get_or_fit("shape", lambda: list(size))
    if size != (height, width):
        raise ConfigError(f"data.path: pictures are {size[1]} x {size[0]}; this run learned {width} x {height}")
    return height, width


def _stored_class_map(
    fitted: Preprocessing,
    values: Sequence[int] | None,
    totals: Counter[int],
    ignore: int | None,
    names: Sequence[str] | None,
) -> masks.ClassMap:
    """The classes that a run stores; pixels of other values are counted and do not count."""
    key = masks.ClassMap(**fitted.get_or_fit("classes", lambda: asdict(_make_class_map(values, totals, ignore, names))))
    strange = {value: count for value, count in totals.items() if value not in key.values and value != ignore}
    if fitted.is_stored and strange and not key.nearest:
        listed = ", ".join(map(str, sorted(strange)[:10]))
        log.warning("%d pixels do not count: this run knows no class of the value %s", sum(strange.values()), listed)
    return key


def _make_class_map(
    values: Sequence[int] | None, totals: Counter[int], ignore: int | None, names: Sequence[str] | None
) -> masks.ClassMap:
    """Of the values that are said to be classes, or else of all that occur. Raises ConfigError where they cannot be."""
    if values is None:
        return masks.ClassMap(_class_values(set(totals), ignore, names))
    key = masks.ClassMap(_class_values(set(values), ignore, names), ignore, nearest=True)
    counts = key.count_classes(totals).tolist()
    if 0 in counts:
        bare = key.values[counts.index(0)]
        raise ConfigError(
            f"data.values: no pixel of the masks is {bare} or nearest to it; they hold {_format_values(totals)}"
        )
    return key


def _format_values(values: Collection[int]) -> str:
    return f"the value{'s' * (len(values) != 1)} {', '.join(map(str, sorted(values)[:10]))}"


def _class_values(found: set[int], ignore: int | None, names: Sequence[str] | None) -> list[int]:
    """The values that are classes, in order. Raises ConfigError where they cannot be, or are not as many as names."""
    values = sorted(found - {ignore})
    said = f"the masks hold {_format_values(values)}"
    if not 2 <= len(values) <= masks.MAX_VALUES:
        raise ConfigError(f"data.path: {said} ({len(values)} different): there must be 2 to {masks.MAX_VALUES} classes")
    if names is not None and len(names) != len(values):
        raise ConfigError(
            f"data.classes: {len(names)} names ({', '.join(names)}), but {said} (in order the classes; data.ignore"
            " leaves one out)"
        )
    return values


class SegmentationFolder(_SegmentationDataset):
    """Pictures in ``images/`` and masks of the same names in ``masks/``, split at random by shares; or in ``train/``
    and ``val/``, ``test/`` or both, that have these two. The values that occur in the masks (grey, 1 bit, or places in
    a palette) are the classes, from the lowest up; or ``values`` are, and all others the nearest of them. Pictures are
    read as those of ``ImageFolder``; where they are brought to a size, masks keep their values.

    Raises ConfigError for a folder that is not there or laid out in another way, for what cannot be read or does not
    go together, and for masks that hold no classes.
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
        found = [(pair, split) for split, part in folders.items() for pair in masks.find_pairs(part)]
        given = torch.tensor([split for _, split in found])
        keys = class_folders.file_keys(folder, [(pair.image, split) for pair, split in found])
        rows = fitted.split_rows(
            keys, lambda: class_folders.split_by_fraction(given, torch.zeros_like(given), val, test, seed)
        )
        counts = [len(part) for part in rows]
        if not all(counts):
            short = SPLITS[counts.index(0)]
            raise ConfigError(f"data.path: of {len(found)} pictures none is left for the {short} split")
        pairs = [found[row][0] for row in torch.cat(rows).tolist()]
        view = image_file.ImageView(1, size, fit)
        self.set_splits(fitted, pairs, counts, view, channels, classes, ignore, repeats, cache_gb, values)


class ISBI2012(_SegmentationDataset):
    """Arganda-Carreras et al. 2015: 30 slices of a fly's nerve cord under an electron microscope, 512 x 512; each pixel
    is of a cell (78 %) or of a membrane between two. The challenge kept the truth of its own test slices, so the ones
    published are divided here: 0 to 19 train, 20 to 23 validate, and 24 to 29 are held out for the test.
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
