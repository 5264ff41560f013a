"""Conversion of images to 8 bits and to the size of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image, Resampling

    from trainer.data.readers.image_file import ImageView


def to_8_bit(image: Image, window: tuple[int, int] | None = None) -> Image:
    """Convert an image to 8 bits without transparency.

    Args:
        image: Image in any mode of Pillow.
        window: Levels that map to black and white, for images of more than 8 bits.
    """
    from PIL import Image

    if image.mode[0] in "IF":
        values = to_unsigned(np.asarray(image))
        if window is None:
            return Image.fromarray((values >> 8).astype(np.uint8))
        scaled = (values.astype(np.float64) - window[0]) / max(1, window[1] - window[0])
        return Image.fromarray((256 * scaled).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba)
    return image


def to_unsigned(values: np.ndarray) -> np.ndarray:
    """Convert the integer pixels of Pillow to uint8 or, where they are wider, uint16.

    Raises:
        ValueError: Pixels have several channels, are not integers or exceed 16 bits.
    """
    if values.ndim != 2:
        raise ValueError("several values per pixel")
    if values.dtype.kind == "f" or values.min() < 0 or values.max() >= 1 << 16:
        raise ValueError(f"values are not of 8 or 16 bits ({values.dtype} from {values.min()} to {values.max()})")
    return values.astype(np.uint8 if values.itemsize == 1 else np.uint16)


def resize_image(image: Image, view: ImageView, filtered: Resampling | None = None) -> Image:
    """Resize an image to the size of the view, with the resampling ``filtered`` (bicubic by default).

    Args:
        image: Image to resize.
        view: Size and how images of another aspect ratio fit into it.
        filtered: Resampling filter; None for bicubic.
    """
    from PIL import Image, ImageOps

    if view.shape is None:
        return image
    size, filtered = view.shape[::-1], Image.Resampling.BICUBIC if filtered is None else filtered
    match view.fit:
        case "cut":
            return ImageOps.fit(image, size, filtered)
        case "cover":
            return image.resize(compute_cover_size(image.size, size), filtered)
        case "pad":
            return ImageOps.pad(image, size, filtered)
        case "stretch":
            return image.resize(size, filtered)


def compute_cover_size(size: tuple[int, int], window: tuple[int, int]) -> tuple[int, int]:
    """Return the width and height of an image after it was resized to cover a window, with its aspect ratio.

    Args:
        size: Width and height of the image.
        window: Width and height of the window.

    Raises:
        ValueError: It would have more pixels than an image file may have.
    """
    from PIL import Image

    scale = max(side / length for side, length in zip(window, size, strict=True))
    width, height = (max(side, round(length * scale)) for side, length in zip(window, size, strict=True))
    if Image.MAX_IMAGE_PIXELS is not None and width * height > Image.MAX_IMAGE_PIXELS:
        raise ValueError(
            f"an image of {size[0]} x {size[1]} pixels would be resized to {width} x {height}, with a shorter side of"
            f" {min(window)} pixels; at most {Image.MAX_IMAGE_PIXELS:,} pixels are supported"
        )
    return width, height
