"""Overlapping windows of an image, and the blending of their predictions.

A window that lies in the middle of its surroundings is predicted best (the overlap-tile strategy of Ronneberger et al.
2015, U-Net), so that predictions are averaged with weights that fall to almost zero at the borders of a window: those
of Hann (Pielawski and Waehlby 2020, Introducing Hann windows for reducing edge-effects in patch-based image
segmentation). Where a single window covers a pixel, as at the borders of the image, it has all of the weight.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX
from trainer.core.prediction import ChooseLabels

STRIP_PIXELS = 1 << 20
"""Number of pixels whose probabilities are resized at once."""


def place_windows(length: int, window: int, stride: int) -> list[int]:
    """Return the first positions of windows that cover a line; the last window ends where the line ends.

    Args:
        length: Length of the line.
        window: Length of a window; a single one, from 0, covers a line that is not longer.
        stride: Distance between the first positions of windows.
    """
    if length <= window:
        return [0]
    return [*range(0, length - window, stride), length - window]


def find_scored_parts(starts: Sequence[int], window: int) -> list[tuple[int, int]]:
    """Return the part of each window, relative to it, in which each position of a line is in exactly one part.

    Positions belong to the window whose center is nearest.

    Args:
        starts: First positions of the windows.
        window: Length of a window.
    """
    borders = [(left + right + window) // 2 for left, right in pairwise(starts)]
    return [
        (low - start, high - start)
        for start, low, high in zip(starts, [0, *borders], [*borders, starts[-1] + window], strict=True)
    ]


def reflect_positions(length: int, window: int) -> Tensor:
    """Return the position (window,) in a shorter line for each position of a window in which the line is centered.

    Positions beyond the line are reflected at its ends, as often as necessary.

    Args:
        length: Length of the line.
        window: Length of the window.
    """
    period = max(1, 2 * (length - 1))
    phase = (torch.arange(window) - (window - length) // 2).remainder(period)
    return torch.where(phase < length, phase, period - phase)


def make_weights(window: tuple[int, int]) -> Tensor:
    """Return the weight (H, W) of each pixel of a window: the product of two Hann windows, which are nowhere zero.

    Args:
        window: Height and width of the window.
    """
    rows, columns = (torch.sin(math.pi * (torch.arange(length) + 0.5) / length).square() for length in window)
    return rows[:, None] * columns


class BlendedImage:
    """Weighted mean of the class probabilities of windows, computed row by row of windows to bound memory.

    Args:
        size: Height and width of the image.
        window: Height and width of a window.
        choose_labels: Function from probabilities to labels.
        keeps_probabilities: Keep the probabilities, to resize them, instead of the labels alone.
    """

    def __init__(
        self,
        size: tuple[int, int],
        window: tuple[int, int],
        choose_labels: ChooseLabels,
        *,
        keeps_probabilities: bool = False,
    ):
        self.size = size
        self.weights = make_weights(window)
        self.choose_labels = choose_labels
        self.keeps_probabilities = keeps_probabilities
        self.top = 0
        self.band: Tensor | None = None
        self.finished_rows: list[Tensor] = []

    def add(self, top: int, left: int, probabilities: Tensor) -> None:
        """Add the probabilities (C, H, W) of a window; windows come in the order of their rows.

        Args:
            top: First row of the window.
            left: First column of the window.
            probabilities: Probability of each class, for each pixel of the window.
        """
        if self.band is None:
            self.band = torch.zeros(len(probabilities), len(self.weights), self.size[1])
        self._finish_rows(top)
        height, width = probabilities.shape[1:]
        self.band[:, :height, left : left + width] += probabilities * self.weights[:height, :width]

    def finish(self) -> Tensor:
        """Return the labels (H, W) int16, or the probabilities (C, H, W), after all windows."""
        self._finish_rows(self.size[0])
        return torch.cat(self.finished_rows, dim=-2)

    def _finish_rows(self, end: int) -> None:
        """Finish the rows before ``end``, to which no further window is added."""
        count = end - self.top
        if not count:
            return
        assert self.band is not None
        done = self.band[:, :count]
        done = done / done.sum(0)
        labels = None if self.keeps_probabilities else self.choose_labels(done[None])[0].to(torch.int16)
        self.finished_rows.append(done if labels is None else labels)
        self.band = torch.cat((self.band[:, count:], torch.zeros_like(self.band[:, :count])), dim=1)
        self.top = end


def resize_to_labels(probabilities: Tensor, size: tuple[int, int], choose_labels: ChooseLabels) -> Tensor:
    """Return the labels (H, W) int16 of probabilities (C, h, w) that are resized bilinearly.

    Args:
        probabilities: Probability of each class.
        size: Height H and width W.
        choose_labels: Function from probabilities to labels.
    """
    if probabilities.shape[1:] == size:
        return choose_labels(probabilities[None])[0].to(torch.int16)
    labels = torch.empty(size, dtype=torch.int16)
    ratio = probabilities.shape[1] / size[0]
    rows_per_strip = max(1, STRIP_PIXELS // size[1])
    for start in range(0, size[0], rows_per_strip):  # in strips, to bound memory
        stop = min(size[0], start + rows_per_strip)
        positions = (torch.arange(start, stop) + 0.5) * ratio - 0.5
        lower = positions.floor().clamp(0, probabilities.shape[1] - 1)
        upper = (lower + 1).clamp(max=probabilities.shape[1] - 1)
        share = (positions - lower).clamp(0, 1)[:, None]
        rows = torch.lerp(probabilities[:, lower.long()], probabilities[:, upper.long()], share)
        strip = F.interpolate(rows, size[1], mode="linear", align_corners=False)
        labels[start:stop] = choose_labels(strip[None])[0].to(torch.int16)
    return labels


def pad_label_maps(label_maps: Sequence[Tensor]) -> Tensor:
    """Stack label maps (H, W) to (K, H, W), padded at the end with ``IGNORE_INDEX``."""
    height, width = (max(label_map.shape[axis] for label_map in label_maps) for axis in (0, 1))
    padded = torch.full((len(label_maps), height, width), IGNORE_INDEX, dtype=torch.int16)
    for row, label_map in enumerate(label_maps):
        padded[row, : label_map.shape[0], : label_map.shape[1]] = label_map
    return padded
