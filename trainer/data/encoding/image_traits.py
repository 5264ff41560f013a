"""Number of channels and intensity window, fitted on the training images."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from trainer.core.preprocessing import Preprocessing
from trainer.data.readers import image_conversion, image_file
from trainer.utils.errors import DataError

MAX_SAMPLED_IMAGES = 512
"""Maximum number of 16-bit training images used to fit the intensity window."""
NUM_LEVELS_16_BIT = 1 << 16
UPSCALING_WARNING_FACTOR = 1.5
"""Upscaling factor from which a warning is logged."""
CHUNK_SIZE = 256
"""Images per chunk when searching for a color image; the search ends at the first."""
log = logging.getLogger(__name__)


def fit_view(
    view: image_file.ImageView, paths: Sequence[Path], headers: Sequence[image_file.ImageHeader], channels: int | None
) -> image_file.ImageView:
    """Fit the view on the training images.

    Channels are 1 where all images are gray, else 3, unless ``channels`` is given; 16-bit images also get an intensity
    window. Logs a warning for upscaling.

    Args:
        view: Requested view, whose channels and window are replaced.
        paths: Training images.
        headers: Header of each image.
        channels: Number of channels; None to choose it.
    """
    warn_about_upscaling(view, headers)
    return replace(view, channels=channels or _count_channels(paths, headers), window=_level_window(paths, headers))


def get_or_fit_view(
    fitted: Preprocessing,
    view: image_file.ImageView,
    paths: Sequence[Path],
    headers: Sequence[image_file.ImageHeader],
    channels: int | None,
) -> image_file.ImageView:
    """Return the view stored by a run, or fit it.

    Args:
        fitted: Preprocessing, which stores the view of a run.
        view: Requested view.
        paths: Training images.
        headers: Header of each image.
        channels: Number of channels; None to choose it.
    """
    return image_file.ImageView(**fitted.get_or_fit("view", lambda: asdict(fit_view(view, paths, headers, channels))))


def _count_channels(paths: Sequence[Path], headers: Sequence[image_file.ImageHeader]) -> int:
    """Return 1 if all images are gray, in any color mode, else 3."""
    candidates = [path for path, header in zip(paths, headers, strict=True) if not header.is_gray]
    groups = (candidates[start : start + CHUNK_SIZE] for start in range(0, len(candidates), CHUNK_SIZE))
    # An unreadable file counts as gray here; decoding reports it with all others.
    return 1 if all(all(image_file.try_map_in_threads(_is_gray, group)) for group in groups) else 3


def _is_gray(path: Path) -> bool:
    """Return whether a file in a color mode has only gray pixels."""
    with image_file.open_image(path) as image:
        image.draft(None, (64, 64))
        pixels = np.asarray(image_conversion.to_8_bit(image).convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


def _level_window(paths: Sequence[Path], headers: Sequence[image_file.ImageHeader]) -> tuple[int, int] | None:
    """Return the minimum and maximum level of a sample of the 16-bit images, as few use the full range."""
    paths_16_bit = [path for path, header in zip(paths, headers, strict=True) if header.is_16_bit]
    if not paths_16_bit:
        return None
    results = image_file.try_map_in_threads(_count_levels, paths_16_bit[:: -(-len(paths_16_bit) // MAX_SAMPLED_IMAGES)])
    counts = np.zeros(NUM_LEVELS_16_BIT, dtype=np.int64)
    for result in results:
        if not isinstance(result, DataError):  # reported by decoding with all others
            counts[result[0]] += result[1]
    if not counts.any():
        return None
    low, high = (int(end) for end in counts.nonzero()[0][[0, -1]])
    cdf = counts.cumsum() / counts.sum()
    typical_range = int(cdf.searchsorted(0.999) - cdf.searchsorted(0.001))
    log.info("levels %d to %d of %d 16-bit images are mapped to 0 to 255", low, high, len(paths_16_bit))
    if high - low > 255 and typical_range * 16 < high - low:
        log.warning(
            "nearly all levels of the 16-bit images are within %d of the %d from %d to %d, which 8 bits cannot resolve:"
            " clip the few outliers",
            *(typical_range, high - low, low, high),
        )
    return low, high


def _count_levels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct levels of an image and their pixel counts."""
    with image_file.open_image(path) as image:
        return np.unique(image_conversion.to_unsigned(np.asarray(image)), return_counts=True)


def warn_about_upscaling(view: image_file.ImageView, headers: Sequence[image_file.ImageHeader]) -> None:
    """Log a warning if images are strongly upscaled, which costs time without adding information.

    Args:
        view: View with the size of decoded images.
        headers: Header of each image.
    """
    if view.shape is None:
        return
    target_side = min(view.shape)
    side = min if view.fit == "cut" else max
    median_header = sorted(headers, key=lambda header: side(header.width, header.height))[len(headers) // 2]
    if target_side >= UPSCALING_WARNING_FACTOR * side(median_header.width, median_header.height):
        log.warning(
            "images of %d x %d pixels are upscaled to %d x %d; data.size=%d keeps their resolution and is faster",
            *(
                median_header.width,
                median_header.height,
                target_side,
                target_side,
                side(median_header.width, median_header.height),
            ),
        )
