"""Preprocessing of images for saved models, compared with the image processors of transformers on the same pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.helpers import saved_model
from trainer.data.splits.pixel_scale import PixelScale
from trainer.models.layers.pretrained.image_preprocessing import ImagePreprocessing, crop_center
from trainer.models.layers.pretrained.saved_model import load_saved_model

LEVELS = 255
OPTIONS: dict[str, Any] = {"do_resize": True, "size": {"height": 4, "width": 4}, "resample": 2, "do_rescale": True}
BOUNDS = [[0.0], [1.0]]


def draw_pictures(height: int, width: int, channels: int) -> list[Image.Image]:
    """Draw pictures with smooth areas, noise, and pixels at both ends of the range."""
    draw = np.random.default_rng(0)
    pictures = []
    for _ in range(4):
        coarse = draw.integers(0, 256, (5, 5, channels), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse.squeeze()).resize((width, height), Image.Resampling.BICUBIC))
        noisy = smooth.astype(int) + draw.integers(-30, 30, smooth.shape)
        pictures.append(Image.fromarray(noisy.clip(0, LEVELS).astype(np.uint8)))
    return pictures


def normalize_pictures(pictures: list[Image.Image]) -> tuple[Tensor, PixelScale]:
    """Return pictures (N, C, H, W) as a data set normalizes them, and its normalization."""
    arrays = [np.atleast_3d(np.array(picture)) for picture in pictures]
    x = torch.stack([torch.from_numpy(array).permute(2, 0, 1) for array in arrays])
    scale = PixelScale.from_images(x)
    return scale(x), scale


@pytest.mark.parametrize("size", [(16, 16, 3), (20, 20, 3), (32, 32, 3), (24, 40, 3), (28, 28, 1), (9, 10, 3)], ids=str)
@pytest.mark.parametrize("kind", saved_model.IMAGE_MODELS)
def test_inputs_equal_those_of_the_image_processor(kind: str, size: tuple[int, int, int], tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    processor = AutoImageProcessor.from_pretrained(saved_model.save_images(tmp_path, kind))
    pictures = draw_pictures(*size)
    colored = [picture.convert("RGB") for picture in pictures]
    expected = processor(images=colored, return_tensors="pt").pixel_values
    x, scale = normalize_pictures(pictures)
    preprocessing = ImagePreprocessing(processor.to_dict(), scale.pixel_bounds, 3)
    difference = ((preprocessing(x) - expected) * preprocessing.std * LEVELS).abs()
    resized = {"vit": 16, "dinov2": 20, "convnext": 32, "resnet": 16}[kind]
    if size[:2] == (resized, resized):
        assert difference.max() < 1e-4
    else:  # the image processor rounds twice to whole bytes
        assert difference.max() < 1.1
        assert difference.mean() < 0.35


def test_two_passes_are_clipped_as_in_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without clipping, the overshoot of the cubic filter differs by several bytes."""
    options = {"do_resize": True, "size": {"height": 40, "width": 40}, "resample": 3, "do_rescale": True}
    pictures = draw_pictures(16, 16, 3)
    x, scale = normalize_pictures(pictures)
    expected = torch.stack(
        [
            torch.from_numpy(np.array(picture.resize((40, 40), Image.Resampling.BICUBIC))).permute(2, 0, 1)
            for picture in pictures
        ]
    )
    preprocessing = ImagePreprocessing(options, scale.pixel_bounds, 3)
    assert (preprocessing(x) * LEVELS - expected).abs().max() < 1.1
    monkeypatch.setattr(Tensor, "clamp", lambda self, *_: self)
    assert (preprocessing(x) * LEVELS - expected).abs().max() > 3


def test_gradient_reaches_the_images() -> None:
    x = torch.rand(1, 1, 8, 8, requires_grad=True)
    ImagePreprocessing(OPTIONS, BOUNDS, 3)(x).sum().backward()
    assert x.grad is not None
    assert (x.grad != 0).all()


@pytest.mark.parametrize("size", [(4, 6), (7, 7), (12, 3), (2, 9)])
def test_center_crop_equals_that_of_transformers(size: tuple[int, int]) -> None:
    from transformers.image_transforms import center_crop

    x = torch.rand(2, 3, 7, 8)
    expected = np.stack([center_crop(image, size, input_data_format="channels_first") for image in x.numpy()])
    assert np.array_equal(crop_center(x, *size).numpy(), expected)


@pytest.mark.parametrize(
    ("options", "bounds", "message"),
    [
        ({"size": {"longest_edge": 8}}, BOUNDS, r"has the size \{'longest_edge': 8\}; supported are height and width"),
        ({"resample": 1}, BOUNDS, r"name: resample: 1 given; it must be one of 0, 2, 3"),
        ({"size": {"height": "4"}}, BOUNDS, r"name: its image processor has size=\{'height': '4'\}; it must be"),
        ({"do_normalize": True, "image_mean": [0.5] * 3}, BOUNDS, "name: its image processor has image_std=None"),
        ({}, [[0.0] * 4, [1.0] * 4], "name: the data has images of 4 channels, and the model takes 3"),
        ({}, [[0.0], [0.0]], r"pixel_bounds: \[\[0.0\], \[0.0\]\] given; expected the values"),
        ({}, [[0.0]], r"pixel_bounds: \[\[0.0\]\] given; expected the values"),
    ],
)
def test_unsupported_options_raise(options: dict[str, Any], bounds: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImagePreprocessing(OPTIONS | options, bounds, 3)


def test_missing_image_processor_raises(tmp_path: Path) -> None:
    folder = saved_model.save_images(tmp_path, "resnet")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"^name: .* contains no preprocessor_config\.json, by which images"):
        load_saved_model(str(folder), None, takes_images=True)
