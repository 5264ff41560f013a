"""Images of a run as data URIs, within the size limit of a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.Image import Image

MAX_IMAGE_BYTES = 1_000_000
"""Bytes of all images of a page together, before they are encoded as text."""
COLORS = 128
"""Number of colors that an image is reduced to where that makes it smaller."""
SCALES = (1.0, 0.7, 0.5, 0.35, 0.25)
"""Factors by which images are reduced until they fit."""


@dataclass(frozen=True)
class EmbeddedImage:
    """An image within a page.

    Args:
        name: File name.
        uri: Data URI.
        width: Width in pixels.
        height: Height in pixels.
    """

    name: str
    uri: str
    width: int
    height: int


def embed_images(paths: Sequence[Path], max_bytes: int = MAX_IMAGE_BYTES) -> tuple[list[EmbeddedImage], list[str]]:
    """Embed images, reduced where they would take more than their share of the page.

    Args:
        paths: Files of images.
        max_bytes: Bytes of all of them together.

    Returns:
        The images, and why each of the others is not among them.
    """
    images: list[EmbeddedImage] = []
    problems: list[str] = []
    left = max_bytes
    for index, path in enumerate(paths):
        image = _embed(path, left // (len(paths) - index))
        if isinstance(image, str):
            problems.append(f"{path.name} {image}")
        else:
            images.append(image)
            left -= len(image.uri) * 3 // 4
    return images, problems


def _embed(path: Path, max_bytes: int) -> EmbeddedImage | str:
    """Return an image of at most a size, or what is wrong with it."""
    import PIL.Image

    # Pillow raises SyntaxError for broken chunks.
    unreadable = (OSError, ValueError, SyntaxError, PIL.UnidentifiedImageError, PIL.Image.DecompressionBombError)

    try:
        with PIL.Image.open(path) as source:
            source.load()
            original = source.convert("RGB")
    except unreadable:
        return "is missing or cannot be read"
    for scale in SCALES:
        size = max(1, round(original.width * scale)), max(1, round(original.height * scale))
        resized = original if scale == 1 else original.resize(size, PIL.Image.Resampling.LANCZOS)
        data = _encode(resized)
        if len(data) <= max_bytes:
            uri = f"data:image/png;base64,{base64.b64encode(data).decode()}"
            return EmbeddedImage(path.name, uri, original.width, original.height)
    return "is too large for this page"


def _encode(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.quantize(COLORS).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
