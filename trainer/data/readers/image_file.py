"""Pictures in files of the user's: found to be some, decoded from whatever they are into bytes, refused by name."""

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
from trainer.utils.cpu import count_cores
from trainer.utils.errors import ConfigError, SystemFault

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

FILE_EXTENSIONS = (
    *(".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".jfif", ".jpe"),
)
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")
"""What is tried, whatever the ending says: of Pillow's other formats one would start a program to read it."""
MAX_NAMED_FILES = 5
"""How many files an error names."""
ROTATED_ORIENTATIONS = (5, 6, 7, 8)
"""The EXIF orientations whose width is the height of what is seen."""
log = logging.getLogger(__name__)
In = TypeVar("In")
Out = TypeVar("Out")


@dataclass(frozen=True)
class ImageHeader:
    """What a picture says of itself before it is decoded: its upright size in pixels, whether it is stored as a grey
    one, and whether in more than 8 bits."""

    width: int
    height: int
    is_gray: bool
    is_16_bit: bool = False


@dataclass(frozen=True)
class ImageView:
    """How pictures are looked at: in 1 or 3 channels, brought to ``size`` x ``size`` pixels unless that is None.

    cut: the shorter side is made to fit, and what is too long of the other cut away on both ends. pad: the longer side
    is made to fit, and black put beside. stretch: each side by itself. window: which levels of pictures of more than 8
    bits are black and white; None takes their highest 8 of 16 bits.
    """

    channels: int
    size: int | None
    fit: Literal["cut", "pad", "stretch"]
    window: tuple[int, int] | None = None


def map_in_threads(
    work: Callable[[In], Out],
    items: Sequence[In],
    later: Callable[[In], object] | None = None,
    option: str = "data.path",
) -> list[Out]:
    """What ``work`` makes of each item, in threads.

    Raises one ConfigError, naming ``option``, for all that it refuses with one, and then also for what would be refused
    ``later``.
    """
    results = try_map_in_threads(work, items)
    good = [result for result in results if not isinstance(result, ConfigError)]
    if len(good) == len(items):
        return good
    found: list[object] = [*results, *(try_map_in_threads(later, items) if later else [])]
    faults = sorted({f"  {fault}" for fault in found if isinstance(fault, ConfigError)})
    more = [f"  and {len(faults) - MAX_NAMED_FILES} more"] if len(faults) > MAX_NAMED_FILES else []
    raise ConfigError("\n".join((f"{option}: {len(faults)} of {len(items)} files:", *faults[:MAX_NAMED_FILES], *more)))


def try_map_in_threads(work: Callable[[In], Out], items: Sequence[In]) -> list[Out | ConfigError]:
    """What ``work`` makes of each item, in threads, or why it refuses it."""
    from PIL import Image

    def attempt(item: In) -> Out | ConfigError:
        try:
            return work(item)
        except ConfigError as error:
            return error

    with warnings.catch_warnings(), ThreadPoolExecutor(count_cores()) as pool:
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return list(pool.map(attempt, items))


@contextmanager
def open_image(path: Path) -> Iterator[Image]:
    """A picture whose header has been read. Raises ConfigError with its name if anything fails before it is closed."""
    from PIL import Image, UnidentifiedImageError

    if kind := text_file.describe_special_file(path):
        raise ConfigError(f"{path.absolute()} is {kind}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            yield image
    except ConfigError:
        raise
    except UnidentifiedImageError as error:
        reason = "is no picture of a format known here" if path.stat().st_size else "is empty"
        raise ConfigError(f"{path.absolute()} {reason}") from error
    except Exception as error:  # what decoders make of broken bytes is open: SyntaxError, struct.error, ...
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise ConfigError(f"{path.absolute()}: {reason}") from error


def is_jpeg(path: Path) -> bool:
    """Whether a picture was compressed by a way that keeps no value. Raises ConfigError for what is no picture."""
    with open_image(path) as image:
        return image.format in ("JPEG", "MPO")


def read_header(path: Path) -> ImageHeader:
    """Raises ConfigError for what is no picture, or one so large that it must be meant to fill the memory."""
    from PIL import ExifTags, Image

    with open_image(path) as image:
        width, height = image.size
        # A PNG may have its EXIF at the end, and would be decoded to find out that it has none.
        exif = {} if image.format == "PNG" and "exif" not in image.info else image.getexif()
        if exif.get(ExifTags.Base.Orientation) in ROTATED_ORIENTATIONS:
            width, height = height, width
        if image.mode == "P":
            palette = np.reshape(image.getpalette("RGB") or [], (-1, 3))
            return ImageHeader(width, height, bool((palette == palette[:, :1]).all()))
        return ImageHeader(width, height, Image.getmodebase(image.mode) == "L", image.mode[0] in "IF")


def decode(path: Path, view: ImageView) -> Tensor:
    """The first frame, upright and on white, as bytes (C, H, W).

    Raises ConfigError for a picture that cannot be read to its end, and for one of real numbers.
    """
    from PIL import ImageOps

    with open_image(path) as image:
        if view.size is not None:
            # A JPEG can be decoded at a half, a quarter or an eighth; twice the size leaves the rest to the filter.
            image.draft(None, (2 * view.size, 2 * view.size))
        upright = ImageOps.exif_transpose(image)
        small = resize_image(to_8_bit(upright, view.window).convert("L" if view.channels == 1 else "RGB"), view)
        pixels = torch.from_numpy(np.array(small))
    return pixels[None] if view.channels == 1 else pixels.permute(2, 0, 1)


def to_8_bit(image: Image, window: tuple[int, int] | None = None) -> Image:
    """Without transparency, in 8 bits."""
    from PIL import Image

    if image.mode[0] in "IF":
        deep = to_unsigned(np.asarray(image))
        if window is None:
            return Image.fromarray((deep >> 8).astype(np.uint8))
        share = (deep.astype(np.float64) - window[0]) / max(1, window[1] - window[0])
        return Image.fromarray((256 * share).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", seen.size, "white"), seen)
    return image


def to_unsigned(values: np.ndarray) -> np.ndarray:
    """The same whole numbers in 8 or, where they were wider, 16 bits, however Pillow holds them.

    Raises ValueError for others.
    """
    if values.ndim != 2:
        raise ValueError("it has several values a pixel")
    if values.dtype.kind == "f" or values.min() < 0 or values.max() >= 1 << 16:
        raise ValueError(f"its values are not of 8 or 16 bits ({values.dtype} from {values.min()} to {values.max()})")
    return values.astype(np.uint8 if values.itemsize == 1 else np.uint16)


def resize_image(image: Image, view: ImageView, filtered: Resampling | None = None) -> Image:
    """At the size of the view. filtered: how pixels are made of others; None weighs all they cover."""
    from PIL import Image, ImageOps

    if view.size is None:
        return image
    size, filtered = (view.size, view.size), Image.Resampling.BICUBIC if filtered is None else filtered
    match view.fit:
        case "cut":
            return ImageOps.fit(image, size, filtered)
        case "pad":
            return ImageOps.pad(image, size, filtered)
        case "stretch":
            return image.resize(size, filtered)


@dataclass(frozen=True)
class LazyImages:
    """Pictures that are decoded when they are asked for; indexed by rows, as a tensor is.

    shape, dtype: of what ``decode`` makes of each.
    """

    paths: Sequence[Path]
    decode: Callable[[Path], Tensor]
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.uint8

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: Tensor) -> Tensor:
        """(B, *shape). Raises SystemFault for a file that was good, or began well, when training began."""
        try:
            return torch.stack([self.decode(self.paths[row]) for row in rows.tolist()])
        except ConfigError as error:
            raise SystemFault(f"data.path: {error}") from error

    @property
    def nbytes(self) -> int:
        return len(self) * math.prod(self.shape) * self.dtype.itemsize

    def slice_rows(self, rows: slice) -> LazyImages:
        return replace(self, paths=self.paths[rows])

    def load_all(self) -> Tensor:
        """All of them, (N, *shape), decoded in threads. Raises ConfigError for those that cannot be read."""
        whole = torch.empty(len(self), *self.shape, dtype=self.dtype)

        def put(row: int) -> None:
            whole[row] = self.decode(self.paths[row])

        map_in_threads(put, range(len(self)))
        return whole


def warn_about_duplicates(paths: Sequence[Path], train: int) -> None:
    """Says in the log if one of the first ``train`` pictures is, byte by byte, one of the others."""
    pairs = find_duplicates(paths[:train], paths[train:])
    if pairs:
        log.warning(
            "%d pictures for validation or testing are training pictures too, such as %s and %s: scores will flatter",
            len(pairs),
            *pairs[0],
        )


def find_duplicates(seen: Sequence[Path], held_out: Sequence[Path]) -> list[tuple[Path, Path]]:
    """Files of the one list and the other that are equal byte by byte; only those of equal sizes are read."""
    sizes = defaultdict(list)
    for path in seen:
        sizes[path.stat().st_size].append(path)
    candidates = [path for path in held_out if path.stat().st_size in sizes]
    rivals = [path for size in {path.stat().st_size for path in candidates} for path in sizes[size]]
    known = {_digest(path): path for path in rivals}
    return [(known[digest], path) for path in candidates if (digest := _digest(path)) in known]


def _digest(path: Path) -> bytes:
    return hashlib.sha256(path.read_bytes()).digest()
