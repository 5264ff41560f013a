"""Files in the IDX format: arrays of bytes behind a header that says their shape (LeCun et al. 1998)."""

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
from trainer.utils.errors import ConfigError

UNSIGNED_BYTE = 0x08
GZIP_SUFFIX = ".gz"
DENSE, LARGE = 100, 1 << 28
"""A gzip file that says it holds so many times its own size, and more than so many bytes, is taken for a bomb: pictures
shrink to a tenth, blank ones to a thousandth."""
BLOCK_BYTES = 1 << 20


def read_images_and_labels(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Pictures as bytes (N, 1, H, W) and their labels (N,) int64.

    Raises ConfigError where their numbers differ.
    """
    x, y = read(images, dims=3), read(labels, dims=1)
    if len(x) != len(y):
        raise ConfigError(f"data.path: {len(x)} pictures in {images} but {len(y)} labels in {labels.name}")
    return torch.from_numpy(x)[:, None], torch.from_numpy(y).long()


def read(path: Path, dims: int) -> np.ndarray:
    """The array of bytes in an IDX file, gzipped or not, unpacked block by block into the room its header asks for.

    Raises ConfigError for a file that is cut short, is longer than it says, is no such array, or says it holds what
    would fill the memory; SystemFault for one that may not be read.
    """
    path = text_file.check_regular_file(path)
    packed = path.suffix == GZIP_SUFFIX
    with text_file.convert_os_errors(path):
        try:
            with cast(BinaryIO, gzip.open(path) if packed else path.open("rb")) as file:
                return _read_array(file, path, dims, path.stat().st_size, packed)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise ConfigError(f"data.path: {path} is no whole gzip file: {error}") from error


def _read_array(file: BinaryIO, path: Path, dims: int, size: int, packed: bool) -> np.ndarray:
    start = 4 + 4 * dims
    header = file.read(start)
    magic = bytes((0, 0, UNSIGNED_BYTE, dims))
    if header[:4] != magic:
        raise ConfigError(
            f"data.path: {path} is no IDX array of bytes in {dims} dimensions:"
            f" it begins with {header[:4].hex()}, not {magic.hex()}"
        )
    if len(header) < start:
        raise ConfigError(f"data.path: {path} ends within its header, after {len(header)} of {start} bytes")
    shape = tuple(int(size) for size in np.frombuffer(header, ">u4", dims, offset=4))
    count = math.prod(shape)
    said = f"data.path: {path} says {' x '.join(map(str, shape))} bytes"
    if packed and count > max(LARGE, DENSE * size):
        raise ConfigError(
            f"{said}, {count / max(1, size):,.0f} times the {size:,} of the file, which no set of pictures does; if it"
            f" is one, unpack it and remove {path.name}"
        )
    if not packed and count != size - start:
        raise ConfigError(f"{said} but holds {size - start}")
    values, held = np.empty(count, np.uint8), 0
    while block := file.read(min(BLOCK_BYTES, count - held)) if held < count else b"":
        values[held : held + len(block)] = np.frombuffer(block, np.uint8)
        held += len(block)
    more = len(file.read(1))
    if held + more != count:
        raise ConfigError(f"{said} but holds {held + more}" + " or more" * more)
    return values.reshape(shape)
