"""Traits of training images: 16-bit levels, gray images of any mode, constant and upscaled images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.image_folders import read, read_error, rows, write


@pytest.mark.parametrize(("low", "step"), [(0, 1), (0, 16), (1000, 1), (0, 257)])
def test_16_bit_levels_are_distinguished_in_any_range(tmp_path: Path, low: int, step: int) -> None:
    shallow = read(write(tmp_path / "shallow", colour=False))
    for path in write(tmp_path / "deep", colour=False).glob("*/*"):
        with Image.open(path) as image:
            levels = low + step * np.array(image).astype(np.uint16)
        Image.fromarray(levels).save(path)
    deep = read(tmp_path / "deep")
    for split in ("train", "val", "test"):
        x, reference = (rows(getattr(data, split))[0].flatten(1)[:, 0].tolist() for data in (deep, shallow))
        order = sorted(range(len(x)), key=lambda row: reference[row])
        assert [x[row] for row in order] == sorted(x)
        if split == "train":
            assert len(set(x)) == len(set(reference)), "different images become equal"
            assert (min(x), max(x)) == (0, 255)
    new_split = deep.read(str(tmp_path / "deep" / "bad"))
    assert int(new_split.inputs["x"].max()) < 128, "new images have the scale of training"


def test_16_bit_levels_that_collapse_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for path in write(tmp_path, colour=False).glob("*/*"):
        with Image.open(path) as image:
            levels = np.array(image.resize((90, 90))).astype(np.uint16)
        levels[0, 0] = 65535
        Image.fromarray(levels).save(path)
    read(tmp_path)
    assert "are within 148 of the" in caplog.text or "which 8 bits cannot resolve" in caplog.text


def test_constant_images_raise(tmp_path: Path) -> None:
    for path in write(tmp_path, colour=False).glob("*/*"):
        Image.new("L", (9, 9), 7).save(path)
    assert "every pixel of 12 training images is 7 of 255; images must not be constant" in read_error(tmp_path)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "LA", "P"])
def test_gray_images_of_any_mode_have_one_channel(tmp_path: Path, kind: str) -> None:
    plain = read(write(tmp_path / "plain", colour=False))
    for path in write(tmp_path / "other", colour=False).glob("*/*"):
        with Image.open(path) as image:
            image.convert(kind).save(path)
    other = read(tmp_path / "other")
    assert other.info.sizes["in_channels"] == 1
    assert torch.equal(rows(other.train)[0], rows(plain.train)[0])
    with Image.open(tmp_path / "other" / "bad" / "002.png") as image:
        tinted = image.convert("RGBA")
    tinted.putpixel((3, 3), (200, 0, 0, 255))
    for path in (tmp_path / "other" / "bad").iterdir():
        tinted.save(path, "PNG")
    assert read(tmp_path / "other").info.sizes["in_channels"] == 3


def test_upscaled_images_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(write(tmp_path), size=12)
    assert not caplog.records
    read(tmp_path, size=20)
    assert "images of 12 x 9 pixels are upscaled to 20 x 20; data.size=9 keeps their resolution" in caplog.text
