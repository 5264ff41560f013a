"""Handwritten digits, 28x28 (LeCun et al. 1998), read from the four files they are published in."""

from __future__ import annotations

import gzip
import math
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from trainer.data.base import Data, Facts, TensorSplit
from trainer.data.parts import baselines, images
from trainer.data.parts.files import Source, fetch
from trainer.errors import ConfigError
from trainer.types import PositiveInt

CLASSES = 10
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FOLDER = "MNIST/raw"
DIGESTS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}
UNSIGNED_BYTE = 0x08


class Mnist(Data):
    """x (B, C, H, W) -> (B)

    70,000 real grey pictures; validation takes the last ``val_rows`` of the 60,000 that are not for testing. Pixels
    have mean 0 and standard deviation 1 over the training rows.
    """

    def __init__(self, val_rows: PositiveInt, data_dir: str | None):
        self.train, self.val, self.test, black = _standardised(val_rows, data_dir)
        self.facts = Facts(
            sizes=images.sizes(self.train.inputs["x"], CLASSES),
            baseline=baselines.majority(self.train, self.test, CLASSES),
            blank=black,
        )


class MnistRows(Data):
    """x (B, T, F) -> (B)

    The pictures of ``Mnist`` as sequences: a step is a row of pixels, from the top down.
    """

    def __init__(self, val_rows: PositiveInt, data_dir: str | None):
        self.train, self.val, self.test, _ = _standardised(val_rows, data_dir)
        for split in (self.train, self.val, self.test):
            split.inputs["x"] = split.inputs["x"].squeeze(1)
        steps, features = self.train.inputs["x"].shape[1:]
        self.facts = Facts(
            sizes={
                "seq_len": steps,
                "in_features": features,
                "flat_features": steps * features,
                "num_classes": CLASSES,
                "out_features": CLASSES,
            },
            baseline=baselines.majority(self.train, self.test, CLASSES),
        )


def _standardised(val_rows: int, data_dir: str | None) -> tuple[TensorSplit, TensorSplit, TensorSplit, float]:
    """Training, validation and test pictures (N, 1, H, W), and what a black pixel is in their scale."""
    sources = [Source(f"{FOLDER}/{file}", digest, URL + file) for file, digest in DIGESTS.items()]
    folder = fetch("mnist", sources, data_dir) / FOLDER
    x, y = labelled(folder, "train")
    test_x, test_y = labelled(folder, "t10k")
    end = len(x) - val_rows
    if end < 1:
        raise ConfigError(f"data.val_rows: {val_rows} leaves no training rows of {len(x)}")
    spread, mean = (float(value) for value in torch.std_mean(x[:end]))
    for pixels in (x, test_x):
        pixels.sub_(mean).div_(spread)  # in place: a second copy would be another 190 MB
    splits = (TensorSplit({"x": x[:end]}, y[:end]), TensorSplit({"x": x[end:]}, y[end:]))
    return *splits, TensorSplit({"x": test_x}, test_y), -mean / spread


def labelled(folder: Path, part: str) -> tuple[Tensor, Tensor]:
    """Pictures (N, 1, H, W) from 0 to 255 and their classes (N), of the ``train`` or ``t10k`` files.

    Raises ConfigError where their numbers differ.
    """
    x = read_idx(folder / f"{part}-images-idx3-ubyte.gz", dims=3)
    y = read_idx(folder / f"{part}-labels-idx1-ubyte.gz", dims=1)
    if len(x) != len(y):
        raise ConfigError(f"data mnist: {len(x)} {part} pictures but {len(y)} labels in {folder}")
    return torch.from_numpy(x.astype(np.float32))[:, None], torch.from_numpy(y.astype(np.int64))


def read_idx(path: Path, dims: int) -> np.ndarray:
    """The array of bytes in a gzipped IDX file: a type, the number of dimensions, their sizes, then the values.

    Raises ConfigError for a file that is cut short, or is no such array.
    """
    try:
        raw = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ConfigError(f"data mnist: {path} is no whole gzip file: {error}") from error
    magic = bytes((0, 0, UNSIGNED_BYTE, dims))
    if raw[:4] != magic:
        raise ConfigError(
            f"data mnist: {path} is no IDX array of bytes in {dims} dimensions:"
            f" it begins with {raw[:4].hex()}, not {magic.hex()}"
        )
    start = 4 + 4 * dims
    if len(raw) < start:
        raise ConfigError(f"data mnist: {path} ends within its header, after {len(raw)} of {start} bytes")
    shape = tuple(int(size) for size in np.frombuffer(raw, ">u4", dims, offset=4))
    if len(raw) - start != math.prod(shape):
        raise ConfigError(f"data mnist: {path} says {' x '.join(map(str, shape))} bytes but holds {len(raw) - start}")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(shape)
