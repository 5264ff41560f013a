"""Handwritten digits, 28x28 (LeCun et al. 1998), read from the four files they are published in."""

from __future__ import annotations

from trainer.core.dataset import Data, Facts
from trainer.core.types import PositiveInt
from trainer.data.generators import image_patterns
from trainer.data.readers import idx_format
from trainer.data.readers.download import Source, fetch
from trainer.data.reference import baselines
from trainer.data.splits import image_splits
from trainer.data.splits.image_splits import PixelSplit, Scale
from trainer.utils.errors import ConfigError

CLASSES = 10
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FOLDER = "MNIST/raw"
DIGESTS = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


class Mnist(Data):
    """70,000 real grey pictures; validation takes the last ``val_rows`` of the 60,000 that are not for testing. Pixels
    have mean 0 and standard deviation 1 over the training rows.
    """

    shapes = "x (B, C, H, W) -> (B)"

    def __init__(self, val_rows: PositiveInt, data_dir: str | None):
        self.train, self.val, self.test = _splits(val_rows, data_dir)
        self.facts = Facts(
            sizes=image_patterns.sizes(self.train.inputs["x"], CLASSES),
            baseline=baselines.majority(self.train, self.test, CLASSES),
            bounds=self.train.scale.bounds,
            blank=self.train.scale.black,
        )

    def read(self, path: str) -> image_splits.NamedPixels:
        return image_splits.read(path, self.facts)


class MnistRows(Data):
    """The pictures of ``Mnist`` as sequences: a step is a row of pixels, from the top down."""

    shapes = "x (B, T, F) -> (B)"

    def __init__(self, val_rows: PositiveInt, data_dir: str | None):
        self.train, self.val, self.test = _splits(val_rows, data_dir)
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


def _splits(val_rows: int, data_dir: str | None) -> list[PixelSplit]:
    """Training, validation and test pictures (N, 1, H, W)."""
    sources = [Source(f"{FOLDER}/{file}", digest, URL + file) for file, digest in DIGESTS.items()]
    folder = fetch("mnist", sources, data_dir) / FOLDER
    (x, y), (test_x, test_y) = (
        idx_format.labelled(folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz")
        for part in ("train", "t10k")
    )
    end = len(x) - val_rows
    if end < 1:
        raise ConfigError(f"data.val_rows: {val_rows} leaves no training rows of {len(x)}")
    scale = Scale.of(x[:end])
    return [
        PixelSplit(pictures, labels, scale)
        for pictures, labels in ((x[:end], y[:end]), (x[end:], y[end:]), (test_x, test_y))
    ]
