"""Mask values: class ids, edge shades, JPEG artifacts and ignored values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from PIL.ImageFilter import GaussianBlur

from tests.helpers.mask_folders import make_mask, read, read_error, rows, write
from trainer.core.batch import IGNORE_INDEX
from trainer.utils.errors import DataError


def write_soft_masks(folder: Path, kind: str) -> Path:
    """Write disc masks of 0 and 255 whose edges are smoothed, enlarged, saved as JPEG, or quantized."""
    write(folder, 8, values=(0, 255))
    for path in sorted((folder / "masks").iterdir()):
        disc = Image.new("L", (40, 40))
        number = int(path.stem)
        ImageDraw.Draw(disc).ellipse((4 + number, 6, 26 + number, 30), fill=255)
        Image.new("L", (40, 40), 9 * number).save(folder / "images" / f"{number}.bmp")
        if kind == "JPEG":
            path.unlink()
            disc.save(path.with_suffix(".jpg"), quality=75)
        else:
            soft = disc.resize((20, 20)).resize((40, 40)) if kind == "enlarged" else disc.filter(GaussianBlur(1))
            if kind == "steps":
                soft = Image.fromarray(np.array(soft) // 32 * 32)
            soft.save(path)
    return folder


@pytest.mark.parametrize("kind", ["smoothed", "enlarged", "JPEG", "steps"])
def test_edge_shades_are_not_classes(tmp_path: Path, kind: str) -> None:
    message = read_error(write_soft_masks(tmp_path, kind))
    low, high = (0, 224) if kind == "steps" else (0, 255)
    assert f"data.values=[{low},{high}]" in message
    data = read(tmp_path, values=[low, high], classes=["off", "on"])
    assert data.info.class_names == ["off", "on"]
    y = rows(data.train)[1]
    assert set(y.unique().tolist()) == {0, 1}
    assert 0.2 < float(y.double().mean()) < 0.4
    with pytest.raises(DataError, match=r"values: no mask pixel has the value 300"):
        read(tmp_path, values=[low, high, 300, 700])


@pytest.mark.parametrize("ending", ["jpg", "png"])
@pytest.mark.parametrize("quality", [95, 98, 100])
def test_jpeg_artifacts_are_not_classes(tmp_path: Path, ending: str, quality: int) -> None:
    """High-quality JPEG has few intermediate values, and conversion to PNG preserves them."""
    write(tmp_path, 8, values=(0, 255))
    for path in sorted((tmp_path / "masks").iterdir()):
        number = int(path.stem)
        disc = Image.new("L", (40, 40))
        ImageDraw.Draw(disc).ellipse((4 + number, 6, 26 + number, 30), fill=255)
        Image.new("L", (40, 40), 9 * number).save(tmp_path / "images" / f"{number}.bmp")
        path.unlink()
        disc.save(path.with_suffix(".jpg"), quality=quality)
        if ending == "png":
            Image.open(path.with_suffix(".jpg")).save(path)
            path.with_suffix(".jpg").unlink()
    assert "JPEG are not classes; data.values=[0,255]" in read_error(tmp_path)
    assert read(tmp_path, values=[0, 255]).info.class_names == ["0", "255"]


def test_class_ids_with_an_ignored_value_are_classes(tmp_path: Path) -> None:
    write(tmp_path, 8)
    for path in sorted((tmp_path / "masks").iterdir()):
        mask = np.repeat([0, 1, 2, 3, 255], [40, 4, 20, 4, 12]).astype(np.uint8)
        Image.fromarray(mask.reshape(10, 8)).save(path)
    assert read(tmp_path).info.class_names == ["0", "1", "2", "3", "255"]
    assert read(tmp_path, ignore=255).info.class_names == ["0", "1", "2", "3"]


def test_thin_bands_in_order_of_value_are_classes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A thin band between a lower and a higher value is a class, as are bands of any values."""
    write(tmp_path, 8)
    for path in sorted((tmp_path / "masks").iterdir()):
        mask = np.repeat(np.arange(5), 2)[:, None].repeat(8, 1)  # (10, 8): bands in order
        mask[1] = 60  # a line
        Image.fromarray((40 * mask).astype(np.uint16)).save(path)
    assert read(tmp_path).info.class_names == ["0", "40", "80", "120", "160", "2400"]
    assert not caplog.records


def test_rare_mask_value_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, values=(0, 255))
    path = tmp_path / "masks" / "3.png"
    mask = make_mask(3, (0, 255)).astype(np.uint8)
    edge = int(np.argmax(mask[:, 0] == 255))
    mask[edge, 4] = 254
    Image.fromarray(mask).save(path)
    assert read(tmp_path).info.class_names == ["0", "254", "255"]
    assert "the mask value 254 is a class with 1 of 800 pixels, in 1 of 10 masks" in caplog.text
    assert "data.values=[0,255]" in caplog.text
    assert read(tmp_path, values=[0, 255]).info.class_names == ["0", "255"]


def test_ignored_pixels_are_not_mapped_to_the_nearest_class(tmp_path: Path) -> None:
    data = read(write(tmp_path, values=(0, 90, 255)), values=[0, 100], ignore=255)
    y = torch.cat([rows(split)[1] for split in (data.train, data.val, data.test)])
    assert set(y.unique().tolist()) == {IGNORE_INDEX, 0, 1}
    plain = read(tmp_path, ignore=255)
    assert torch.equal(rows(plain.train)[1], rows(data.train)[1])
