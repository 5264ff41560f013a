"""Image files: header inspection, decoding to uint8 tensors and lazy access."""

from __future__ import annotations

import hashlib
import logging
import math
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import numpy as np
import torch
from torch import Tensor

from trainer.data.readers import text_file
from trainer.data.readers.image_conversion import resize_image, to_8_bit
from trainer.utils.cpu import count_cores
from trainer.utils.errors import DataError, SystemFault

if TYPE_CHECKING:
    from PIL.Image import Image

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
log = logging.getLogger(__name__)
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
        size: Height and width in pixels; None for the size of the file.
        fit: ``cut`` resizes the shorter side and center-crops the longer one; ``pad`` resizes the longer side and pads
            with black; ``stretch`` ignores the aspect ratio.
        window: Levels of images of more than 8 bits that map to black and white; None takes the upper 8 of 16 bits.
    """

    channels: int
    size: int | None
    fit: Literal["cut", "pad", "stretch"]
    window: tuple[int, int] | None = None


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
    problems = sorted({f"  {problem}" for problem in outcomes if isinstance(problem, DataError)})
    omitted = [f"  and {len(problems) - MAX_NAMED_FILES} more"] if len(problems) > MAX_NAMED_FILES else []
    raise DataError(
        "\n".join((f"{option}: {len(problems)} of {len(items)} files:", *problems[:MAX_NAMED_FILES], *omitted))
    )


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
    from PIL import ImageOps

    with open_image(path) as image:
        if view.size is not None:
            # JPEG can be decoded at 1/2, 1/4 or 1/8 of its size; twice the target size leaves the rest to the filter.
            image.draft(None, (2 * view.size, 2 * view.size))
        upright = ImageOps.exif_transpose(image)
        small = resize_image(to_8_bit(upright, view.window).convert("L" if view.channels == 1 else "RGB"), view)
        pixels = torch.from_numpy(np.array(small))
    return pixels[None] if view.channels == 1 else pixels.permute(2, 0, 1)


@dataclass(frozen=True)
class LazyImages:
    """Images decoded on access, indexed by row like a tensor.

    Args:
        paths: Image files.
        decode: Decoder of one file.
        shape: Shape of a decoded image.
        dtype: Type of a decoded image.
    """

    paths: Sequence[Path]
    decode: Callable[[Path], Tensor]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.uint8

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """Decode rows to (B, *shape). Raises SystemFault, as headers were valid at the start of the run."""
        try:
            return torch.stack([self.decode(self.paths[row]) for row in rows.tolist()])
        except DataError as error:
            raise SystemFault(f"path: {error}") from error

    @property
    def nbytes(self) -> int:
        return len(self) * math.prod(self.shape) * self.dtype.itemsize

    def slice_rows(self, rows: slice) -> LazyImages:
        return replace(self, paths=self.paths[rows])

    def load_all(self) -> Tensor:
        """Decode all images to (N, *shape) in threads.

        Raises:
            DataError: Images cannot be read; the message lists their files.
        """
        images = torch.empty(len(self), *self.shape, dtype=self.dtype)

        def decode_row(row: int) -> None:
            images[row] = self.decode(self.paths[row])

        map_in_threads(decode_row, range(len(self)))
        return images


def warn_about_duplicates(paths: Sequence[Path], train: int) -> None:
    """Log a warning if a validation or test image is a byte-wise copy of one of the first ``train`` images.

    Args:
        paths: Files of all splits, training files first.
        train: Number of training files.
    """
    pairs = find_duplicates(paths[:train], paths[train:])
    if pairs:
        log.warning(
            "%d validation or test images are also training images, such as %s and %s: scores will be too optimistic",
            len(pairs),
            *pairs[0],
        )


def find_duplicates(train_paths: Sequence[Path], heldout_paths: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Find files of both lists with equal bytes; only those of equal sizes are read.

    Args:
        train_paths: Training files.
        heldout_paths: Validation and test files.
    """
    sizes = defaultdict(list)
    for path in train_paths:
        sizes[path.stat().st_size].append(path)
    candidates = [path for path in heldout_paths if path.stat().st_size in sizes]
    same_size = [path for size in {path.stat().st_size for path in candidates} for path in sizes[size]]
    path_by_digest = {_digest(path): path for path in same_size}
    return [(path_by_digest[digest], path) for path in candidates if (digest := _digest(path)) in path_by_digest]


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
