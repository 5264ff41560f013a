"""Traits that the training pictures share, channels and levels, by which all pictures are read."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from trainer.core.preprocessing import Preprocessing
from trainer.data.readers import image_file
from trainer.utils.errors import ConfigError

MAX_SAMPLED_IMAGES = 512
"""Training pictures whose deep levels are measured."""
NUM_LEVELS_16_BIT = 1 << 16
UPSCALING_WARNING_FACTOR = 1.5
"""How many times as large pictures are made before it is told."""
CHUNK_SIZE = 256
"""Pictures that are looked at together for colour, of which one is enough."""
log = logging.getLogger(__name__)


def fit_view(
    view: image_file.ImageView, paths: Sequence[Path], heads: Sequence[image_file.ImageHeader], channels: int | None
) -> image_file.ImageView:
    """The view with what training pictures need: 1 channel where all are grey, else 3, unless ``channels`` are given;
    and the window of those that are deep. Says in the log if they are enlarged.
    """
    warn_about_upscaling(view, heads)
    return replace(view, channels=channels or _count_channels(paths, heads), window=_level_window(paths, heads))


def get_or_fit_view(
    fitted: Preprocessing,
    view: image_file.ImageView,
    paths: Sequence[Path],
    heads: Sequence[image_file.ImageHeader],
    channels: int | None,
) -> image_file.ImageView:
    """The ``fit_view`` view that a run stores."""
    return image_file.ImageView(**fitted.get_or_fit("view", lambda: asdict(fit_view(view, paths, heads, channels))))


def _count_channels(paths: Sequence[Path], heads: Sequence[image_file.ImageHeader]) -> int:
    """1 where all pictures are grey, however they are stored, else 3."""
    unsure = [path for path, head in zip(paths, heads, strict=True) if not head.is_gray]
    groups = (unsure[start : start + CHUNK_SIZE] for start in range(0, len(unsure), CHUNK_SIZE))
    # A file that cannot be read counts as grey here: it is told with the others, when all are decoded.
    return 1 if all(all(image_file.try_map_in_threads(_is_gray, group)) for group in groups) else 3


def _is_gray(path: Path) -> bool:
    """Whether what is seen has no colour, in a file that could hold some."""
    with image_file.open_image(path) as image:
        image.draft(None, (64, 64))
        pixels = np.asarray(image_file.to_8_bit(image).convert("RGB"))
    return bool((pixels == pixels[..., :1]).all())


def _level_window(paths: Sequence[Path], heads: Sequence[image_file.ImageHeader]) -> tuple[int, int] | None:
    """The least and the highest level of a sample of the deep pictures: few use all of their 16 bits."""
    deep = [path for path, head in zip(paths, heads, strict=True) if head.is_16_bit]
    if not deep:
        return None
    found = image_file.try_map_in_threads(_count_levels, deep[:: -(-len(deep) // MAX_SAMPLED_IMAGES)])
    counts = np.zeros(NUM_LEVELS_16_BIT, dtype=np.int64)
    for one in found:
        if not isinstance(one, ConfigError):  # told with the others, when all are decoded
            counts[one[0]] += one[1]
    if not counts.any():
        return None
    low, high = (int(end) for end in counts.nonzero()[0][[0, -1]])
    share = counts.cumsum() / counts.sum()
    usual = int(share.searchsorted(0.999) - share.searchsorted(0.001))
    log.info("levels from %d to %d of %d deep pictures are shown as 0 to 255", low, high, len(deep))
    if high - low > 255 and usual * 16 < high - low:
        log.warning(
            "nearly all levels of deep pictures lie within %d of the %d from %d to %d, which 8 bits cannot tell apart"
            " well: cut off the few that are outside",
            *(usual, high - low, low, high),
        )
    return low, high


def _count_levels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The levels of a picture, and how many pixels have each."""
    with image_file.open_image(path) as image:
        return np.unique(image_file.to_unsigned(np.asarray(image)), return_counts=True)


def warn_about_upscaling(view: image_file.ImageView, heads: Sequence[image_file.ImageHeader]) -> None:
    """Says in the log if pictures are made much larger than they are: time is spent on what is not in them."""
    if view.size is None:
        return
    side = min if view.fit == "cut" else max
    usual = sorted(heads, key=lambda head: side(head.width, head.height))[len(heads) // 2]
    if view.size >= UPSCALING_WARNING_FACTOR * side(usual.width, usual.height):
        log.warning(
            "pictures of %d x %d pixels are enlarged to %d x %d; data.size=%d takes them as they are, and less time",
            *(usual.width, usual.height, view.size, view.size, side(usual.width, usual.height)),
        )
