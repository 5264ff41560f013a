"""Reader of the IDX format: byte arrays with a shape header (LeCun et al. 1998)."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from trainer.data.readers import text_file
from trainer.utils.errors import DataError

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
    x, y = read(images, dims=3), read(labels, dims=1)
    if len(x) != len(y):
        raise DataError(f"path: {len(x)} images in {images} but {len(y)} labels in {labels.name}")
    return torch.from_numpy(x)[:, None], torch.from_numpy(y).long()


def read(path: Path, dims: int) -> np.ndarray:
    """Read the byte array of an IDX file, gzipped or not, block by block into an array of the declared size.

    Args:
        path: File to read.
        dims: Number of dimensions of the array.

    Raises:
        DataError: The file is truncated, longer than declared, not such an array, or a decompression bomb.
        SystemFault: The file cannot be read.
    """
    path = text_file.check_regular_file(path)
    is_compressed = path.suffix == GZIP_SUFFIX
    with text_file.convert_os_errors(path):
        try:
            with cast(BinaryIO, gzip.open(path) if is_compressed else path.open("rb")) as file:
                return _read_array(file, path, dims, path.stat().st_size, is_compressed)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise DataError(f"path: {path} is not a valid gzip file: {error}") from error


def _read_array(file: BinaryIO, path: Path, dims: int, size: int, is_compressed: bool) -> np.ndarray:
    start = 4 + 4 * dims
    header = file.read(start)
    magic = bytes((0, 0, UNSIGNED_BYTE, dims))
    if header[:4] != magic:
        raise DataError(
            f"path: {path} is not an IDX array of bytes with {dims} dimensions:"
            f" it starts with {header[:4].hex()}, not {magic.hex()}"
        )
    if len(header) < start:
        raise DataError(f"path: {path} ends within its header, after {len(header)} of {start} bytes")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", dims, offset=4))
    count = math.prod(shape)
    declared = f"path: {path} declares {' x '.join(map(str, shape))} bytes"
    if is_compressed and count > max(LARGE, DENSE * size):
        raise DataError(
            f"{declared}, {count / max(1, size):,.0f} times the {size:,} of the file, which is implausible for images;"
            f" if it is valid, decompress it and remove {path.name}"
        )
    if not is_compressed and count != size - start:
        raise DataError(f"{declared} but contains {size - start}")
    values, num_read = np.empty(count, np.uint8), 0
    while block := file.read(min(BLOCK_BYTES, count - num_read)) if num_read < count else b"":
        values[num_read : num_read + len(block)] = np.frombuffer(block, np.uint8)
        num_read += len(block)
    has_more = len(file.read(1))
    if num_read + has_more != count:
        raise DataError(f"{declared} but contains {num_read + has_more}" + " or more" * has_more)
    return values.reshape(shape)
