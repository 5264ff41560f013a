"""Format of predicted masks: mode and palette of the training masks."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.core import class_colors
from trainer.core.preprocessing import Preprocessing
from trainer.data.encoding import mask_format
from trainer.inference.prediction_output import save_image

LABELS = np.arange(12).reshape(3, 4) % 3
VALUES = (0, 5, 9)
PALETTE = [[7, 7, 7]] + [[index, 0, 255 - index] for index in range(1, 10)]


def make_mask(mode: str, values: tuple[int, ...]) -> Image.Image:
    pixels = np.array(values, np.uint16 if mode == "I;16" else np.uint8)[LABELS]
    if mode == "1":
        return Image.fromarray(pixels > 0)
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette(np.array(PALETTE, np.uint8).tobytes())
    return image if mode in ("L", "P", "I;16") else image.convert(mode)


def write_masks(folder: Path, *modes: str) -> list[Path]:
    paths = []
    for number, mode in enumerate(modes):
        paths.append(folder / f"{number}.png")
        make_mask(mode, (0, 1, 1) if mode == "1" else VALUES).save(paths[-1])
    return paths


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "I;16"])
def test_written_mask_equals_the_training_mask(tmp_path: Path, mode: str) -> None:
    (path,) = write_masks(tmp_path, mode)
    fitted = Preprocessing()
    mask_format.fit_mask_format(fitted, [path])
    stored = mask_format.get_stored_format(Preprocessing(fitted.values))
    values, labels = ((0, 1), np.minimum(LABELS, 1)) if mode == "1" else (VALUES, LABELS)
    save_image(stored.encode(labels, values), tmp_path / "written.png")
    with Image.open(path) as expected, Image.open(tmp_path / "written.png") as written:
        assert written.mode == expected.mode
        assert np.array_equal(np.asarray(written), np.asarray(expected))
        assert written.getpalette() == expected.getpalette()


def test_most_frequent_mode_is_stored(tmp_path: Path) -> None:
    fitted = Preprocessing()
    mask_format.fit_mask_format(fitted, write_masks(tmp_path, "L", "P", "RGB", "P"))
    assert fitted.values["mask_format"] == {"mode": "P", "palette": PALETTE}


def test_values_without_a_color_are_written(tmp_path: Path) -> None:
    mask = mask_format.MaskFormat("P", PALETTE[:2]).encode(LABELS, VALUES)
    save_image(mask, tmp_path / "written.png")
    with Image.open(tmp_path / "written.png") as written:
        assert np.array_equal(np.asarray(written), np.array(VALUES)[LABELS])


def test_a_run_without_a_stored_format_writes_gray_masks(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        stored = mask_format.get_stored_format(Preprocessing({}))
    assert "masks are written in gray" in caplog.text
    for values in ((0, 255), (3, 40000)):
        encoded = stored.encode(LABELS % 2, values)
        assert isinstance(encoded, np.ndarray)
        assert np.array_equal(encoded, np.array(values)[LABELS % 2])


def test_overlay_colors_are_those_of_a_colorful_palette() -> None:
    stored = mask_format.MaskFormat("P", PALETTE)
    assert stored.get_class_colors((1, 5)) == [(1, 0, 254), (5, 0, 250)]
    gray = mask_format.MaskFormat("P", [[0, 0, 0], [255, 255, 255]])
    assert gray.get_class_colors((0, 1)) == list(class_colors.CLASS_COLORS[:2])
    assert stored.get_class_colors((0, 40)) == list(class_colors.CLASS_COLORS[:2])


def test_overlay_mixes_image_and_color() -> None:
    image = np.full((3, 4, 3), 100, np.uint8)
    overlaid = class_colors.overlay_classes(image, LABELS, [(0, 0, 0), (255, 0, 0), (0, 0, 255)])
    expected = 0.45 * 100 + 0.55 * np.array([(0, 0, 0), (255, 0, 0), (0, 0, 255)])[LABELS]
    assert np.abs(overlaid - expected).max() <= 0.51
