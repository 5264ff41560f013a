"""Images in memory: Pillow images and arrays, converted to what their files would contain."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from trainer.data.readers.image_input import format_file_name
from trainer.utils.errors import DataError

if TYPE_CHECKING:
    from PIL.Image import Image

ACCEPTED = (
    "a Pillow image, an array (H, W), (H, W, 3) or (H, W, 4) of uint8, an array (H, W) of uint16, a pathlib.Path of a"
    " file, or a list of these"
)
_LEVEL = {"type": "integer", "minimum": 0, "maximum": 255}
ROW_SCHEMA: Mapping[str, Any] = {
    "type": "array",
    "description": "image: rows of gray pixels, or of pixels [red, green, blue]",
    "items": {"type": "array", "items": {"anyOf": [_LEVEL, {"type": "array", "items": _LEVEL}]}},
}
"""JSON schema of an image in a request."""
LAST_DIMS = (1, 3, 4)
"""Sizes of a last dimension that is read as the channels of a color, in an array of three dimensions."""
T = TypeVar("T")


def convert_all(
    rows: Any, convert: Callable[[Image], T], decode: Callable[[Path], T]
) -> tuple[list[T], list[str] | None]:
    """Convert images in memory and return them with their names, if all are paths.

    Args:
        rows: One image or several: Pillow images, arrays, paths, or an array (N, H, W) or (N, H, W, C).
        convert: Function of a Pillow image.
        decode: Function of the path of a file.

    Raises:
        DataError: They are something else, none, or cannot be read; the message has the number of the image.
    """
    items = list_images(rows)
    if not items:
        raise DataError("rows: no images given")
    names = [format_file_name(os.fspath(item)) for item in items if isinstance(item, Path)]
    images = [_convert(item, number, convert, decode) for number, item in enumerate(items, 1)]
    return images, names if len(names) == len(items) else None


def list_images(rows: Any) -> Sequence[Any]:
    """Return the images of ``rows`` one by one.

    Texts are no paths here: rows may come from a client of a server, which must not read files there. An array with
    three dimensions is one image if the last has size 1, 3 or 4, and otherwise a stack of gray images.

    Args:
        rows: See ``convert_all``.

    Raises:
        DataError: An array has another number of dimensions, or ``rows`` is no sequence of images.
    """
    if isinstance(rows, Path) or _is_pillow_image(rows):
        return [rows]
    if isinstance(rows, np.ndarray) or hasattr(rows, "__array__"):
        array = np.asarray(rows)
        if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] in LAST_DIMS):
            return [array]
        if array.ndim in (3, 4):
            return list(array)
        raise DataError(f"rows: an array of shape {array.shape} given; it must be {ACCEPTED}")
    if isinstance(rows, Iterable) and not isinstance(rows, dict | str | bytes):
        return list(rows)
    raise DataError(f"rows: a {type(rows).__name__} given; it must be {ACCEPTED}")


def _convert(item: Any, number: int, convert: Callable[[Image], T], decode: Callable[[Path], T]) -> T:
    try:
        if isinstance(item, Path):
            return decode(Path(item))
        image: Image = item if _is_pillow_image(item) else _make_image(item)
        if 0 in image.size:
            raise DataError("it has no pixels")
        return convert(image)
    except DataError as error:
        raise DataError(f"rows: image {number}: {error}") from error
    except Exception as error:  # decoders raise arbitrary errors for corrupt files: SyntaxError, struct.error, ...
        raise DataError(f"rows: image {number}: {error or type(error).__name__}") from error


def _is_pillow_image(item: Any) -> bool:
    from PIL import Image

    return isinstance(item, Image.Image)


def _make_image(item: Any) -> Image:
    """Return an array, or nested lists of numbers, as the image that its file would contain."""
    from PIL import Image

    array = np.asarray(item)
    if array.dtype.kind in "iu" and array.dtype not in (np.uint8, np.uint16) and array.size:
        # Lists of JSON, and arrays that were computed with, have wider types.
        if array.min() < 0 or array.max() > 255:
            raise DataError(f"values from {array.min()} to {array.max()} of {array.dtype}; they must be 0 to 255")
        array = array.astype(np.uint8)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    is_color = array.ndim == 3 and array.shape[-1] in LAST_DIMS and array.dtype == np.uint8
    if not array.size or not (is_color or (array.ndim == 2 and array.dtype in (np.uint8, np.uint16, np.bool_))):
        hint = "; multiply values from 0 to 1 by 255" if array.dtype.kind == "f" else ""
        raise DataError(f"shape {array.shape} of {array.dtype}; it must be {ACCEPTED}{hint}")
    return Image.fromarray(np.ascontiguousarray(array))
