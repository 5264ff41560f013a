"""Reader of the IDX format: byte arrays with a shape header (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import math
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, cast

import numpy as np

from trainer.data.readers import text_file
from trainer.utils.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor

UNSIGNED_BYTE = 0x08
GZIP_SUFFIX = ".gz"
DENSE, LARGE = 100, 1 << 28
"""Compression ratio and size in bytes above which a gzip file is rejected as a decompression bomb; images compress to a
tenth, blank ones to a thousandth."""
BLOCK_BYTES = 1 << 20


def read_images_and_labels(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Read images as bytes (N, 1, H, W) and labels (N,) int64.

    Args:
        images: IDX file of images.
        labels: IDX file of labels.

    Raises:
        DataError: The files have different numbers of items, or are not IDX files of this kind.
    """
    import torch

    x, y = read(images, dims=3), read(labels, dims=1)
    if len(x) != len(y):
        raise DataError(f"path: {len(x)} images in {images} but {len(y)} labels in {labels.name}")
    return torch.from_numpy(x)[:, None], torch.from_numpy(y).long()


def is_idx_file(path: str | Path) -> bool:
    """Return whether a file, gzipped or not, starts like an IDX array of images; its name does not matter."""
    path = Path(path).expanduser()
    try:
        if not path.is_file():
            return False
        with _open(path) as file:
            return file.read(4) == _magic(dims=3)
    except (OSError, ValueError, EOFError, zlib.error):  # reading it reports the reason
        return False


def read_labels_of(images: Path, option: str) -> np.ndarray:
    """Read the labels (N,) of a file of images from the file of labels next to it.

    Args:
        images: File whose name contains ``images``, such as ``t10k-images-idx3-ubyte.gz``.
        option: Option named in error messages.

    Raises:
        DataError: There is no such file, or it is no IDX file with as many labels as images.
    """
    plain = images.name.replace("images", "labels").replace("idx3", "idx1").removesuffix(GZIP_SUFFIX)
    candidates = [images.with_name(name) for name in (plain, plain + GZIP_SUFFIX)]
    labels = next((path for path in candidates if path != images and path.is_file()), None)
    if labels is None:
        raise DataError(f"{option}: {images.absolute()} has no targets: there is no {plain} next to it")
    with _open_array(images, 3, option) as (_, shape, _):
        count = shape[0]
    values = read(labels, 1, option)
    if len(values) != count:
        raise DataError(f"{option}: {count} images in {images.absolute()} but {len(values)} labels in {labels.name}")
    return values


def iter_images(path: Path, count: int, size: Sequence[int], option: str) -> Iterator[np.ndarray]:
    """Yield the images of an IDX file, gzipped or not, as bytes (N, H, W) with at most ``count`` images.

    Args:
        path: File to read.
        count: Number of images that are read at once.
        size: Height and width that the images must have.
        option: Option named in error messages.

    Raises:
        DataError: The file has no images or those of another size, is truncated, longer than declared, not such an
            array, or a decompression bomb.
        SystemFault: The file cannot be read.
    """
    with _open_array(path, 3, option) as (file, shape, declared):
        if not math.prod(shape):
            raise DataError(f"{option}: {path.absolute()} has no images")
        if tuple(shape[1:]) != tuple(size):
            found, needed = (f"{width} x {height}" for height, width in (shape[1:], size))
            raise DataError(f"{option}: images in {path.absolute()} are {found}; this run was trained on {needed}")
        for start in range(0, shape[0], count):
            values = np.empty((min(count, shape[0] - start), *shape[1:]), np.uint8)
            _fill(values, file, declared, start * math.prod(shape[1:]))
            yield values
        _check_end(file, declared, math.prod(shape))


def read(path: Path, dims: int, option: str = "path") -> np.ndarray:
    """Read the byte array of an IDX file, gzipped or not, block by block into an array of the declared size.

    Args:
        path: File to read.
        dims: Number of dimensions of the array.
        option: Option named in error messages.

    Raises:
        DataError: The file is truncated, longer than declared, not such an array, or a decompression bomb.
        SystemFault: The file cannot be read.
    """
    with _open_array(path, dims, option) as (file, shape, declared):
        values = np.empty(shape, np.uint8)
        _fill(values, file, declared, 0)
        _check_end(file, declared, values.size)
    return values


def _magic(dims: int) -> bytes:
    return bytes((0, 0, UNSIGNED_BYTE, dims))


def _open(path: Path) -> BinaryIO:
    return cast(BinaryIO, gzip.open(path) if path.suffix == GZIP_SUFFIX else path.open("rb"))


@contextmanager
def _open_array(path: Path, dims: int, option: str) -> Iterator[tuple[BinaryIO, tuple[int, ...], str]]:
    """Yield a file after its header, the declared shape, and the start of error messages about it."""
    path = text_file.check_regular_file(path, option)
    with text_file.convert_os_errors(path, option):
        try:
            with _open(path) as file:
                yield file, *_read_header(file, path, dims, option)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"{option}: {path} is not a valid gzip file: {error}") from error


def _read_header(file: BinaryIO, path: Path, dims: int, option: str) -> tuple[tuple[int, ...], str]:
    start, size, magic = 4 + 4 * dims, path.stat().st_size, _magic(dims)
    header = file.read(start)
    if header[:4] != magic:
        raise DataError(
            f"{option}: {path} is not an IDX array of bytes with {dims} dimensions:"
            f" it starts with {header[:4].hex()}, not {magic.hex()}"
        )
    if len(header) < start:
        raise DataError(f"{option}: {path} ends within its header, after {len(header)} of {start} bytes")
    shape = tuple(int(length) for length in np.frombuffer(header, ">u4", dims, offset=4))
    count = math.prod(shape)
    declared = f"{option}: {path} declares {' x '.join(map(str, shape))} bytes"
    is_compressed = path.suffix == GZIP_SUFFIX
    if is_compressed and count > max(LARGE, DENSE * size):
        raise DataError(
            f"{declared}, {count / max(1, size):,.0f} times the {size:,} of the file, which is implausible for images;"
            f" if it is valid, decompress it and remove {path.name}"
        )
    if not is_compressed and count != size - start:
        raise DataError(f"{declared} but contains {size - start}")
    return shape, declared


def _fill(values: np.ndarray, file: BinaryIO, declared: str, num_before: int) -> None:
    """Read bytes into an array. Raises DataError if the file ends before it is full."""
    flat, num_read = values.reshape(-1), 0
    while block := file.read(min(BLOCK_BYTES, flat.size - num_read)) if num_read < flat.size else b"":
        flat[num_read : num_read + len(block)] = np.frombuffer(block, np.uint8)
        num_read += len(block)
    if num_read < flat.size:
        raise DataError(f"{declared} but contains {num_before + num_read}")


def _check_end(file: BinaryIO, declared: str, count: int) -> None:
    if file.read(1):
        raise DataError(f"{declared} but contains {count + 1} or more")
