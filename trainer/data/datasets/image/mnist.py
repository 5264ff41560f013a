"""MNIST handwritten digits, 28x28 (LeCun et al. 1998)."""

from __future__ import annotations

from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, ImageInfo
from trainer.core.types import PositiveInt
from trainer.data.generators import image_patterns
from trainer.data.readers import idx_format
from trainer.data.readers.download import Source, fetch_files
from trainer.data.reference import baselines
from trainer.data.splits.image_inputs import FixedSizeImageDataset
from trainer.data.splits.image_splits import PixelSplit
from trainer.data.splits.pixel_scale import PixelScale
from trainer.utils.errors import DataError

NUM_CLASSES = 10
URL = "https://ossci-datasets.s3.amazonaws.com/mnist/"
RAW_DIR = "MNIST/raw"
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}


class MNIST(FixedSizeImageDataset):
    """Classification of 70,000 grayscale digits.

    Validation takes the last ``val_rows`` of the 60,000 training images. Pixels have mean 0 and standard deviation 1
    over the remaining training rows.

    Args:
        val_rows: Number of validation rows, less than 60,000.
        data_dir: Parent directory of ``mnist/``; None for the default data directory.

    References:
        LeCun, Bottou, Bengio and Haffner 1998, Gradient-Based Learning Applied to Document Recognition, Proc. IEEE
            86(11).
    """

    shapes = "x (B, C, H, W) -> (B)"

    def __init__(self, val_rows: PositiveInt = 5000, data_dir: str | None = None):
        self.train, self.val, self.test = _load_splits(val_rows, data_dir)
        self.info = DatasetInfo(
            sizes=image_patterns.image_sizes(self.train.inputs["x"], NUM_CLASSES),
            baseline=baselines.majority_class(self.train, self.test, NUM_CLASSES),
            image=ImageInfo(bounds=self.train.scale.pixel_bounds, blank=self.train.scale.black_level),
        )


class SequentialMNIST(Dataset):
    """Row-wise sequential MNIST: each step is a row of pixels, from top to bottom.

    Args:
        val_rows: Number of validation rows, less than 60,000.
        data_dir: Parent directory of ``mnist/``; None for the default data directory.

    References:
        LeCun, Bottou, Bengio and Haffner 1998, Gradient-Based Learning Applied to Document Recognition, Proc. IEEE
            86(11).
    """

    shapes = "x (B, T, F) -> (B)"

    def __init__(self, val_rows: PositiveInt = 5000, data_dir: str | None = None):
        self.train, self.val, self.test = _load_splits(val_rows, data_dir)
        for split in (self.train, self.val, self.test):
            split.inputs["x"] = split.inputs["x"].squeeze(1)
        steps, features = self.train.inputs["x"].shape[1:]
        self.info = DatasetInfo(
            sizes={
                "seq_len": steps,
                "in_features": features,
                "flat_features": steps * features,
                "num_classes": NUM_CLASSES,
                "out_features": NUM_CLASSES,
            },
            baseline=baselines.majority_class(self.train, self.test, NUM_CLASSES),
        )


def _load_splits(val_rows: int, data_dir: str | None) -> list[PixelSplit]:
    """Load training, validation and test images (N, 1, H, W)."""
    sources = [Source(f"{RAW_DIR}/{file}", digest, URL + file) for file, digest in SHA256.items()]
    folder = fetch_files("mnist", sources, data_dir) / RAW_DIR
    (x, y), (test_x, test_y) = (
        idx_format.read_images_and_labels(
            folder / f"{part}-images-idx3-ubyte.gz", folder / f"{part}-labels-idx1-ubyte.gz"
        )
        for part in ("train", "t10k")
    )
    end = len(x) - val_rows
    if end < 1:
        raise DataError(f"val_rows: {val_rows} leaves no training rows of {len(x)}")
    scale = PixelScale.from_images(x[:end])
    return [
        PixelSplit(images, labels, scale)
        for images, labels in ((x[:end], y[:end]), (x[end:], y[end:]), (test_x, test_y))
    ]
