"""New images for a trained model: same preprocessing as training images, row names and errors."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.own_files import pictures
from trainer.core.dataset_info import DatasetInfo, ImageInfo
from trainer.data.datasets.image.digits import Digits
from trainer.data.datasets.image.image_folder import ImageFolder
from trainer.data.splits import image_splits
from trainer.data.splits.image_splits import NamedPixelSplit
from trainer.data.splits.pixel_scale import PixelScale
from trainer.utils.errors import DataError


def load_inputs(split: NamedPixelSplit) -> torch.Tensor:
    return split.to_model_inputs(split.batch(torch.arange(len(split)), 0)).inputs["x"]


def test_reading_training_folder_reproduces_training_inputs() -> None:
    folder = pictures() / "kinds"
    data = ImageFolder(str(folder), 12, "cut", None, 0.2, 0.2, 0, 1.0)
    split = data.read(str(folder))
    label, names = split.get_row_names(1)
    assert (label, len(names)) == ("file", 40)
    assert {"dark/0.png", "light/19.png"} <= set(names)
    batches = (
        fitted_split.to_model_inputs(fitted_split.batch(torch.arange(len(fitted_split)), 0))
        for fitted_split in (data.train, data.val, data.test)
    )
    training_inputs = torch.cat([batch.inputs["x"] for batch in batches]).flatten(1)
    assert float(torch.cdist(load_inputs(split).flatten(1), training_inputs).min(1).values.max()) < 0.05
    single_image = data.read(str(folder / "dark" / "3.png"))
    assert single_image.get_row_names(1) == ("file", ["3.png"])
    torch.testing.assert_close(load_inputs(single_image)[0], load_inputs(split)[list(names).index("dark/3.png")])


def test_new_image_gets_size_channels_and_scale_of_training(tmp_path: Path) -> None:
    data = Digits(8, 0)
    row = data.test.inputs["x"][5, 0]
    shades = np.asarray((row * 255).round(), dtype=np.uint8)
    large = np.stack([shades.repeat(4, 0).repeat(4, 1)] * 3, -1)
    Image.fromarray(large).save(tmp_path / "five.PNG")
    (tmp_path / "notes.txt").write_text("not an image")
    (image,) = load_inputs(data.read(str(tmp_path)))
    assert image.shape == (1, 8, 8)
    assert float((image[0] - row).abs().max()) < 0.2
    assert float(torch.corrcoef(torch.stack((image.flatten(), row.flatten())))[0, 1]) > 0.99


def test_pixel_scale_is_restored_from_pixel_bounds() -> None:
    x = torch.randint(256, (20, 3, 4, 4), dtype=torch.uint8)
    scale = PixelScale.from_images(x)
    torch.testing.assert_close(PixelScale.from_range(*scale.pixel_bounds)(x), scale(x), atol=1e-5, rtol=1e-5)


def test_images_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    data = Digits(8, 0)
    (tmp_path / "bad.png").write_text("this is not an image")
    (tmp_path / "bare").mkdir()
    for name, message in {
        "nope": "input: .*nope does not exist",
        "bare": r"input: .*bare has no images \(\.png, \.jpg",
        "bad.png": "(?s)input: 1 of 1 files:.*bad.png is not an image of a supported format",
    }.items():
        with pytest.raises(DataError, match=message):
            data.read(str(tmp_path / name))
    oblong = DatasetInfo(sizes={"in_channels": 1, "height": 8, "width": 6}, image=ImageInfo(bounds=([0.0], [1.0])))
    with pytest.raises(DataError, match="images of this run are 6 x 8; only square ones can be read"):
        image_splits.read(str(tmp_path), oblong)
