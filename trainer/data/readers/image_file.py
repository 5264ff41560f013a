"""Image files: header inspection and decoding to uint8 arrays and tensors."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np

from trainer.data.readers import text_file
from trainer.data.readers.image_conversion import resize_image, to_8_bit
from trainer.utils.cpu import count_cores
from trainer.utils.errors import DataError
from trainer.utils.text import escape_control_chars

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

FILE_EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jfif", ".jpe"),
)
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""Formats accepted with any file extension; some other Pillow formats would run external programs."""
MAX_NAMED_FILES = 5
"""Maximum number of files named in an error."""
ROTATED_ORIENTATIONS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class ImageHeader:
    """Image properties available without decoding.

    Args:
        width: Width of the upright image in pixels.
        height: Height of the upright image in pixels.
        is_gray: Whether the color mode is gray.
        is_16_bit: Whether pixels have more than 8 bits.
    """

    width: int
    height: int
    is_gray: bool
    is_16_bit: bool = False


@dataclass(frozen=True)
class ImageView:
    """Decoding options.

    Args:
        channels: 1 for gray, 3 for RGB.
        size: Height and width in pixels, a pair if they differ; None for the size of the file.
        fit: ``cut`` resizes the shorter side and center-crops the longer one; ``cover`` resizes the shorter side and
            keeps all of the longer one; ``pad`` resizes the longer side and pads with black; ``stretch`` ignores the
            aspect ratio.
        window: Levels of images of more than 8 bits that map to black and white; None takes the upper 8 of 16 bits.
    """

    channels: int
    size: int | tuple[int, int] | None
    fit: Literal["cut", "cover", "pad", "stretch"]
    window: tuple[int, int] | None = None

    @property
    def shape(self) -> tuple[int, int] | None:
        """Height and width in pixels; None for the size of the file."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


def map_in_threads(
    function: Callable[[In], Out],
    items: Sequence[In],
    later: Callable[[In], object] | None = None,
    option: str = "path",
) -> list[Out]:
    """Map ``function`` over items in threads.

    Args:
        function: Function of one item.
        items: Items, such as paths.
        later: Function that is called afterwards; if ``function`` fails for some item, the errors of this one are
            collected as well.
        option: Option named in the error message.

    Raises:
        DataError: One error for all items that fail with a DataError.
    """
    results = try_map_in_threads(function, items)
    valid_results = [result for result in results if not isinstance(result, DataError)]
    if len(valid_results) == len(items):
        return valid_results
    outcomes: list[object] = [*results, *(try_map_in_threads(later, items) if later else [])]
    errors = {str(problem): problem for problem in outcomes if isinstance(problem, DataError)}
    raise make_files_error(errors.values(), len(items), option)


def make_files_error(errors: Collection[DataError], count: int, option: str) -> DataError:
    """Return one error for all files that cannot be read, which names the first of them.

    Args:
        errors: Error of each of these files.
        count: Number of all files.
        option: Option named in the message.
    """
    problems = describe_problems(errors, MAX_NAMED_FILES)
    return DataError("\n".join((f"{option}: {len(errors)} of {count} files:", *problems)))


def describe_problems(errors: Iterable[DataError], max_names: int) -> list[str]:
    """Return a line for each file that cannot be read, with the reason.

    Args:
        errors: Error of each of these files, which names it.
        max_names: Maximum number of files named.
    """
    problems = sorted(f"  {escape_control_chars(str(error), one_line=True)}" for error in errors)
    omitted = [f"  and {len(problems) - max_names} more"] if len(problems) > max_names else []
    return [*problems[:max_names], *omitted]


def try_map_in_threads(function: Callable[[In], Out], items: Sequence[In]) -> list[Out | DataError]:
    """Map a function over items in threads.

    Args:
        function: Function of an item.
        items: Items.

    Returns:
        The result of each item, or the DataError that the function raised.
    """
    from PIL import Image

    def attempt(item: In) -> Out | DataError:
        try:
            return function(item)
        except DataError as error:
            return error

    with warnings.catch_warnings(), ThreadPoolExecutor(count_cores()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return list(pool.map(attempt, items))


@contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """Open an image and read its header.

    Args:
        path: Image file.

    Raises:
        DataError: The image cannot be opened, or the block fails to decode it; the message names the file.
    """
    from PIL import Image, UnidentifiedImageError

    if special_type := text_file.describe_special_file(path):
        raise DataError(f"{path.absolute()} is {special_type}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except DataError:
        raise
    except UnidentifiedImageError as error:
        reason = "is not an image of a supported format" if path.stat().st_size else "is empty"
        raise DataError(f"{path.absolute()} {reason}") from error
    except Exception as error:  # decoders raise arbitrary errors for corrupt files: SyntaxError, struct.error, ...
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path.absolute()}: {reason}") from error


def is_jpeg(path: Path) -> bool:
    """Return whether an image uses lossy JPEG compression.

    Raises:
        DataError: The file is not a valid image.
    """
    with open_image(path) as image:
        return image.format in ("JPEG", "MPO")


def read_header(path: Path) -> ImageHeader:
    """Read the header of an image.

    Raises:
        DataError: The file is not a valid image, or is a decompression bomb.
    """
    from PIL import ExifTags, Image

    with open_image(path) as image:
        width, height = image.size
        # A PNG may have EXIF data at its end; looking for it would decode the whole image.
        exif = {} if image.format == "PNG" and "exif" not in image.info else image.getexif()
        if exif.get(ExifTags.Base.Orientation) in ROTATED_ORIENTATIONS:
            width, height = height, width
        if image.mode == "P":
            palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
            return ImageHeader(width, height, bool((palette == palette[:, :1]).all()))
        return ImageHeader(width, height, Image.getmodebase(image.mode) == "L", image.mode[0] in "IF")


def decode(path: Path, view: ImageView) -> Tensor:
    """Decode the first frame to uint8 (C, H, W), with EXIF orientation applied and transparency on white.

    Args:
        path: Image file.
        view: Channels, size and intensity window of the result.

    Raises:
        DataError: The image is truncated, or has floating-point values.
    """
    return decode_with_size(path, view)[0]


def decode_with_size(path: Path, view: ImageView) -> tuple[Tensor, tuple[int, int]]:
    """Decode as ``decode`` does, and return the height and width of the upright image in the file.

    Args:
        path: Image file.
        view: Channels, size and intensity window of the result.

    Raises:
        DataError: The image is truncated, or has floating-point values.
    """
    import torch

    pixels, size = _decode_file(path, view)
    return torch.from_numpy(pixels), size


def decode_pixels(path: Path, view: ImageView) -> np.ndarray:
    """Decode as ``decode`` does, to an array.

    Args:
        path: Image file.
        view: Channels, size and intensity window of the result.

    Raises:
        DataError: The image is truncated, or has floating-point values.
    """
    return _decode_file(path, view)[0]


def _decode_file(path: Path, view: ImageView) -> tuple[np.ndarray, tuple[int, int]]:
    with open_image(path) as image:
        size = image.size
        if view.shape is not None:
            # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; twice the target size leaves the rest to the filter.
            image.draft(None, (2 * view.shape[1], 2 * view.shape[0]))
        return _convert_to_array(image, view), get_upright_size(image, size)


def get_upright_size(image: Image, size: tuple[int, int] | None = None) -> tuple[int, int]:
    """Return the height and width of an image with its EXIF orientation applied.

    Args:
        image: Loaded image.
        size: Width and height before a reduction while loading; None for those of the image.
    """
    from PIL import ExifTags

    width, height = size or image.size
    is_rotated = image.getexif().get(ExifTags.Base.Orientation) in ROTATED_ORIENTATIONS
    return (width, height) if is_rotated else (height, width)


def convert_image(image: Image, view: ImageView) -> Tensor:
    """Convert an image to uint8 (C, H, W), with EXIF orientation applied and transparency on white.

    Args:
        image: Image in any mode of Pillow.
        view: Channels, size and intensity window of the result.

    Raises:
        ValueError: The image has floating-point values.
    """
    import torch

    return torch.from_numpy(_convert_to_array(image, view))


def _convert_to_array(image: Image, view: ImageView) -> np.ndarray:
    from PIL import ImageOps

    upright = ImageOps.exif_transpose(image)
    small = resize_image(to_8_bit(upright, view.window).convert("L" if view.channels == 1 else "RGB"), view)
    pixels = np.array(small)
    return pixels[None] if view.channels == 1 else pixels.transpose(2, 0, 1)
