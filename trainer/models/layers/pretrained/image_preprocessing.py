"""Preprocessing of images as a saved model expects them: size, range, mean and standard deviation."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.types import describe_type, is_valid_value
from trainer.utils.choices import get_choice

MAX_BYTE = 255
MODES = {0: "nearest-exact", 2: "bilinear", 3: "bicubic"}
"""Interpolation of torch by the number of a filter of Pillow."""
OPTION_TYPES = {
    **dict.fromkeys(("do_resize", "do_center_crop", "do_rescale", "do_normalize"), bool | None),
    **dict.fromkeys(("size", "crop_size"), dict[str, int | None] | None),
    **dict.fromkeys(("image_mean", "image_std"), float | list[float] | None),
    **dict.fromkeys(("crop_pct", "rescale_factor"), float | None),
    "resample": int | None,
}
"""Types of the options of image processors; other options are ignored."""
MAX_CROPPED_EDGE = 383
"""Largest size at which ``crop_pct`` applies; larger images are resized to the size itself."""


class ImagePreprocessing(nn.Module):
    """Converts normalized images of a data set to the inputs of a saved model, as its image processor converts files.

    The normalization of the data set is undone, gray images get as many equal channels as the model has, and the steps
    of the image processor follow: resize (with antialiasing), center crop, rescale and normalize. Resized pixels are
    not rounded to bytes, so that the output is a continuous function of the images.

    Args:
        options: Options of the image processor.
        pixel_bounds: Values of black and of white pixels in each of the C channels of the data set.
        channels: Number of channels D of the model.

    Raises:
        ValueError: The image processor has a step that is not supported, or the numbers of channels do not fit.
    """

    shapes = "x (B, C, H, W) -> (B, D, H', W')"
    black: Tensor
    white: Tensor
    mean: Tensor
    std: Tensor

    def __init__(self, options: Mapping[str, Any], pixel_bounds: Sequence[Sequence[float]], channels: int):
        super().__init__()
        _check_options(options)
        black, white = _make_bounds(pixel_bounds, channels)
        self.channels = channels
        self.do_resize, self.do_center_crop = bool(options.get("do_resize")), bool(options.get("do_center_crop"))
        self.size, self.crop_size = dict(options.get("size") or {}), dict(options.get("crop_size") or {})
        self.crop_fraction = options.get("crop_pct")
        self._check_sizes()
        resample = options.get("resample")
        self.mode = MODES[2] if resample is None else get_choice("name: resample", resample, MODES)
        factor = (options.get("rescale_factor") or 1 / MAX_BYTE) if options.get("do_rescale") else 1
        self.factor = MAX_BYTE * factor
        mean, std = _read_moments(options, channels)
        for name, value in (("black", black), ("white", white), ("mean", mean), ("std", std)):
            self.register_buffer(name, value.view(-1, 1, 1), persistent=False)

    def _check_sizes(self) -> None:
        for is_used, size, allowed in (
            (self.do_resize, self.size, ({"height", "width"}, {"shortest_edge"})),
            (self.do_center_crop, self.crop_size, ({"height", "width"},)),
        ):
            if is_used and {key for key, value in size.items() if value} not in allowed:
                expected = " or ".join(" and ".join(sorted(keys)) for keys in allowed)
                raise ValueError(f"name: its image processor has the size {dict(size)}; supported are {expected}")

    def forward(self, x: Tensor) -> Tensor:
        x = (x - self.black) / (self.white - self.black)
        if self.do_resize:
            x = self._resize(x)
        if self.do_center_crop:
            x = crop_center(x, self.crop_size["height"], self.crop_size["width"])
        x = (x * self.factor - self.mean) / self.std  # a gray image gets the channels of the mean
        return x.expand(-1, self.channels, -1, -1)

    def _resize(self, x: Tensor) -> Tensor:
        edge = self.size.get("shortest_edge")
        if edge is None:
            return self._interpolate(x, self.size["height"], self.size["width"])
        if self.crop_fraction is None:
            return self._interpolate(x, *scale_shortest_edge(x, edge))
        if edge > MAX_CROPPED_EDGE:
            return self._interpolate(x, edge, edge)
        return crop_center(self._interpolate(x, *scale_shortest_edge(x, int(edge / self.crop_fraction))), edge, edge)

    def _interpolate(self, x: Tensor, height: int, width: int) -> Tensor:
        """Resize images with values in [0, 1] as Pillow does: first the rows, then the columns, each clipped."""
        options = {} if self.mode == MODES[0] else {"align_corners": False, "antialias": True}
        for size in ((x.shape[2], width), (height, width)):
            if x.shape[2:] != size:
                x = F.interpolate(x, size, mode=self.mode, **options).clamp(0, 1)
        return x


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError if an option of an image processor has another type than that of its class."""
    for key, kind in OPTION_TYPES.items():
        if not is_valid_value(options.get(key), kind):
            raise ValueError(f"name: its image processor has {key}={options[key]!r}; it must be {describe_type(kind)}")


def _make_bounds(pixel_bounds: Sequence[Sequence[float]], channels: int) -> tuple[Tensor, Tensor]:
    """Return the values (C) of black and of white pixels.

    Raises:
        ValueError: They are not two different values for each channel, or the model takes other images.
    """
    lengths = {len(values) for values in pixel_bounds}
    if len(pixel_bounds) != 2 or len(lengths) != 1 or any(map(operator.eq, *pixel_bounds)):
        raise ValueError(f"pixel_bounds: {pixel_bounds} given; expected the values of black and of white pixels")
    if lengths - {1, channels}:
        raise ValueError(f"name: the data has images of {lengths.pop()} channels, and the model takes {channels}")
    black, white = (torch.tensor(list(values), dtype=torch.float) for values in pixel_bounds)
    return black, white


def _read_moments(options: Mapping[str, Any], channels: int) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation, (D) or (1), by which an image processor normalizes.

    Raises:
        ValueError: One is missing, or they are not those of the channels of the model.
    """
    if not options.get("do_normalize"):
        return torch.zeros(1), torch.ones(1)
    moments = []
    for key in ("image_mean", "image_std"):
        value = torch.as_tensor([] if options.get(key) is None else options[key], dtype=torch.float).flatten()
        if len(value) not in (1, channels):
            raise ValueError(
                f"name: its image processor has {key}={options.get(key)}; the model has {channels} channels"
            )
        moments.append(value)
    return moments[0], moments[1]


def scale_shortest_edge(x: Tensor, edge: int) -> tuple[int, int]:
    """Return the height and width of images with the same aspect ratio and a given shortest edge.

    Args:
        x: Images (B, C, H, W).
        edge: Length of the shortest edge in pixels.
    """
    height, width = x.shape[2:]
    shortest = min(height, width)
    return int(edge * height / shortest), int(edge * width / shortest)


def crop_center(x: Tensor, height: int, width: int) -> Tensor:
    """Crop the center of images; smaller ones are padded with zeros.

    Args:
        x: Images (B, C, H, W).
        height: Height of the result in pixels.
        width: Width of the result in pixels.
    """
    missing_rows, missing_columns = max(0, height - x.shape[2]), max(0, width - x.shape[3])
    if missing_rows or missing_columns:
        left, top = -(-missing_columns // 2), -(-missing_rows // 2)
        x = F.pad(x, (left, missing_columns - left, top, missing_rows - top))
    first_row, first_column = (x.shape[2] - height) // 2, (x.shape[3] - width) // 2
    return x[:, :, first_row : first_row + height, first_column : first_column + width]
