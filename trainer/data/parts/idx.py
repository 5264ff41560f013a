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

from trainer.errors import ConfigError

UNSIGNED_BYTE = 0x08
GZIP = ".gz"
DENSEST = 1032
"""How many bytes one gzipped byte can stand for."""


def labelled(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """Pictures as bytes (N, 1, H, W) and their labels (N,) int64.

    Raises ConfigError where their numbers differ.
    """
    x, y = read(images, dims=3), read(labels, dims=1)
    if len(x) != len(y):
        raise ConfigError(f"data.path: {len(x)} pictures in {images} but {len(y)} labels in {labels.name}")
    return torch.from_numpy(x)[:, None], torch.from_numpy(y).long()


def read(path: Path, dims: int) -> np.ndarray:
    """The array of bytes in an IDX file, gzipped or not. No more is unpacked than its header says.

    Raises ConfigError for a file that is cut short, is longer than it says, or is no such array.
    """
    packed = path.suffix == GZIP
    try:
        with cast(BinaryIO, gzip.open(path) if packed else path.open("rb")) as file:
            return _array(file, path, dims, path.stat().st_size * (DENSEST if packed else 1))
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"data.path: {path} is no whole gzip file: {error}") from error


def _array(file: BinaryIO, path: Path, dims: int, most: int) -> np.ndarray:
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
    raw = bytearray(file.read(min(count, most) + 1))
    if len(raw) != count:
        held = f"{len(raw)}" + " or more" * (len(raw) > count)
        raise ConfigError(f"data.path: {path} says {' x '.join(map(str, shape))} bytes but holds {held}")
    return np.frombuffer(raw, np.uint8).reshape(shape)
