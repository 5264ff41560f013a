"""Classes of mask values, and the size of images and masks, stored by a run."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import asdict

from trainer.core.preprocessing import Preprocessing
from trainer.data.readers import image_file, masks
from trainer.data.readers.mask_file import ClassMap, ImageMaskPair
from trainer.utils.errors import DataError

log = logging.getLogger(__name__)


def find_common_size(pairs: Sequence[ImageMaskPair], headers: Sequence[image_file.ImageHeader]) -> tuple[int, int]:
    """Return the common height and width of images.

    Args:
        pairs: Image and mask files, for messages.
        headers: Header of each image.

    Raises:
        DataError: Images differ in size.
    """
    first = headers[0]
    for pair, header in zip(pairs, headers, strict=True):
        if (header.height, header.width) != (first.height, first.width):
            raise DataError(
                f"size: images differ in size: {pairs[0].image.absolute()} is {first.width} x {first.height},"
                f" {pair.image.absolute()} {header.width} x {header.height}; set data.size to resize all to a square"
            )
    return first.height, first.width


def get_stored_size(
    fitted: Preprocessing, pairs: Sequence[ImageMaskPair], headers: Sequence[image_file.ImageHeader]
) -> tuple[int, int]:
    """Return the height and width of the training images.

    Args:
        fitted: Preprocessing, which stores the size of a run.
        pairs: Image and mask files, for messages.
        headers: Header of each image.

    Raises:
        DataError: Images differ in size, or from that of the run.
    """
    size = find_common_size(pairs, headers)
    height, width = fitted.get_or_fit("shape", lambda: list(size))
    if size != (height, width):
        raise DataError(f"path: images are {size[1]} x {size[0]}; this run was trained on {width} x {height}")
    return height, width


def get_or_fit_class_map(
    fitted: Preprocessing,
    values: Sequence[int] | None,
    totals: Counter[int],
    ignore: int | None,
    names: Sequence[str] | None,
) -> ClassMap:
    """Return the class map of a run; pixels of unknown values are logged and ignored.

    Args:
        fitted: Preprocessing, which stores the class map of a run.
        values: Mask values of the classes; None for all that occur.
        totals: Number of pixels of each mask value.
        ignore: Mask value that is no class.
        names: Class names; None for the values.

    Raises:
        DataError: The classes are invalid.
    """
    class_map = ClassMap(**fitted.get_or_fit("classes", lambda: asdict(_make_class_map(values, totals, ignore, names))))
    unknown = {value: count for value, count in totals.items() if value not in class_map.values and value != ignore}
    if fitted.is_stored and unknown and not class_map.nearest:
        listing = ", ".join(map(str, sorted(unknown)[:10]))
        log.warning("%d pixels are ignored: this run has no class for the values %s", sum(unknown.values()), listing)
    return class_map


def _make_class_map(
    values: Sequence[int] | None, totals: Counter[int], ignore: int | None, names: Sequence[str] | None
) -> ClassMap:
    """Build a class map from ``values``, or from all that occur. Raises DataError for invalid classes."""
    if values is None:
        return ClassMap(_class_values(set(totals), ignore, names))
    class_map = ClassMap(_class_values(set(values), ignore, names), ignore, nearest=True)
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
