"""What data sets of images have in common."""

from __future__ import annotations

from torch import Tensor


def sizes(x: Tensor, classes: int) -> dict[str, int]:
    """The sizes that images (N, C, H, W) of so many classes publish."""
    channels, height, width = x.shape[1:]
    return {
        "in_channels": channels,
        "height": height,
        "width": width,
        "flat_features": channels * height * width,
        "num_classes": classes,
        "out_features": 1 if classes == 2 else classes,
    }
