"""Windows of images of any size, for the prediction of label maps."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.prediction import ChooseLabels, Prediction
from trainer.core.split import Split
from trainer.data.splits import window_blending
from trainer.data.splits.pixel_scale import PixelScale

MAX_BATCH_PIXELS = 1 << 18
"""Maximum number of pixels in a batch of several windows: the activations of a convolutional network need several
hundred bytes for each."""


@dataclass(frozen=True)
class MapImage:
    """Image whose label map is predicted.

    Attributes:
        pixels: Pixels (C, H, W) uint8 at the scale of the model.
        name: Path of the image; None for one without.
        mask_path: Path of its mask, without suffix.
        size: Height and width of the mask.
        target: True classes (H, W) int8; None if they are unknown.
        path: File of the image, for an overlay; None without one.
    """

    pixels: Tensor
    name: str | None
    mask_path: str
    size: tuple[int, int]
    target: Tensor | None = None
    path: Path | None = None

    @property
    def is_resized(self) -> bool:
        """Whether the mask has another size than the pixels."""
        return tuple(self.pixels.shape[1:]) != self.size


class Window(NamedTuple):
    """Position of a window.

    Attributes:
        image: Number of its image.
        top: First row.
        left: First column.
        scored_rows: First and last row, exclusively, of the part of the window that is compared with targets.
        scored_columns: The same for columns.
        is_last: Whether it is the last window of its image.
    """

    image: int
    top: int
    left: int
    scored_rows: tuple[int, int]
    scored_columns: tuple[int, int]
    is_last: bool


class ImageWindows(Split):
    """Overlapping windows of images, whose blended predictions are label maps of the images.

    An image that is smaller than a window is reflected at its borders. Of the targets of overlapping windows, each
    pixel is kept in the window whose center is nearest, so that it is scored once.

    Args:
        images: Images; all have targets, or none.
        scale: Normalization.
        window: Height and width of a window.
        stride: Rows and columns between neighboring windows.
        overlay: Whether images with the predicted classes over them are requested.
    """

    def __init__(
        self,
        images: Sequence[MapImage],
        scale: PixelScale,
        window: tuple[int, int],
        stride: tuple[int, int],
        *,
        overlay: bool = False,
    ):
        self.images = images
        self.scale = scale
        self.window = window
        self.stride = stride
        self.overlay = overlay
        self.windows = [each for number, image in enumerate(images) for each in self._place_windows(number, image)]

    def _place_windows(self, number: int, image: MapImage) -> Iterator[Window]:
        axes = []
        for length, window, stride in zip(image.pixels.shape[1:], self.window, self.stride, strict=True):
            starts = window_blending.place_windows(length, window, stride)
            axes.append(list(zip(starts, window_blending.find_scored_parts(starts, window), strict=True)))
        rows, columns = axes
        for top, scored_rows in rows:
            for left, scored_columns in columns:
                is_last = top == rows[-1][0] and left == columns[-1][0]
                yield Window(number, top, left, scored_rows, scored_columns, is_last)

    def __len__(self) -> int:
        return len(self.windows)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        windows = [self.windows[row] for row in index.tolist()]
        x = torch.stack([self._cut(self.images[window.image].pixels, window) for window in windows])
        target = None if self.images[0].target is None else torch.stack([self._cut_target(each) for each in windows])
        return Batch({"x": x}, target, index)

    def _cut(self, pixels: Tensor, window: Window) -> Tensor:
        """Return the pixels (..., h, w) of a window, reflected at the borders of a smaller image."""
        for axis, start, length in zip((-2, -1), (window.top, window.left), self.window, strict=True):
            if pixels.shape[axis] >= length:
                pixels = pixels.narrow(axis, start, length)
            else:
                positions = window_blending.reflect_positions(pixels.shape[axis], length).to(pixels.device)
                pixels = pixels.index_select(axis, positions)
        return pixels

    def _cut_target(self, window: Window) -> Tensor:
        """Return the targets (h, w) of a window, ignored where the pixel is scored in another one or is reflected."""
        image = self.images[window.image]
        assert image.target is not None
        target = torch.full_like(image.target[:1, :1], IGNORE_INDEX).repeat(self.window)
        lines = []
        for start, scored, length, extent in zip(
            window[1:3], window[3:5], image.target.shape, self.window, strict=True
        ):
            margin = max(0, extent - length) // 2
            first, last = max(scored[0], margin), min(scored[1], margin + length)
            lines.append((slice(first, last), slice(start + first - margin, start + last - margin)))
        (rows, image_rows), (columns, image_columns) = lines
        target[rows, columns] = image.target[image_rows, image_columns]
        return target

    def iter_batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """Yield batches with at most ``MAX_BATCH_PIXELS`` pixels, or one window.

        Args:
            order: Row numbers (B,) of each batch, which is divided if it is too large.
            epoch: Epoch, from 0.
        """
        rows = max(1, MAX_BATCH_PIXELS // math.prod(self.window))
        for index in order:
            yield from (self.batch(part, epoch) for part in index.split(rows))

    def to_model_inputs(self, batch: Batch) -> Batch:
        target = None if batch.target is None else batch.target.long()
        return replace(batch, inputs={"x": self.scale(batch.inputs["x"])}, target=target)

    def get_targets(self) -> Tensor | None:
        targets = [image.target.unique() for image in self.images if image.target is not None]
        if not targets:
            return None
        ignored = targets[0].new_tensor([IGNORE_INDEX] * (len(self.windows) > len(self.images)))
        return torch.cat((*targets, ignored)).unique().flip(0)[None].long()

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        names = [image.name for image in self.images if image.name is not None]
        return ("file", names) if names else ("row", range(first, first + len(self.images)))

    def get_mask_paths(self, first: int) -> Sequence[str]:
        return [image.mask_path for image in self.images]

    def count_examples(self) -> tuple[int, str]:
        return len(self.images), "images"

    def count_bytes(self) -> int:
        tensors = [tensor for image in self.images for tensor in (image.pixels, image.target) if tensor is not None]
        return sum(tensor.nbytes for tensor in tensors)

    def to(self, device: torch.device) -> ImageWindows:
        images = [
            replace(
                image,
                pixels=image.pixels.to(device),
                target=None if image.target is None else image.target.to(device),
            )
            for image in self.images
        ]
        return ImageWindows(images, self.scale.to(device), self.window, self.stride, overlay=self.overlay)

    def collect_outputs(
        self, parts: Iterable[tuple[Tensor, Prediction]], choose_labels: ChooseLabels
    ) -> dict[str, Tensor]:
        """Blend the predictions of windows to the label map (K, H, W) int16 of each image.

        The only window of an image of its own size keeps the labels of the task.

        Args:
            parts: Window numbers (B,), labels (B, h, w) and class probabilities (B, C, h, w) of each batch, in the
                order of the windows.
            choose_labels: Function of the task from probabilities to labels.
        """
        label_maps: list[Tensor] = []
        blended: window_blending.BlendedImage | None = None
        for index, prediction in parts:
            for row, label, probabilities in zip(
                index.tolist(), prediction["label"], prediction["probabilities"], strict=True
            ):
                window = self.windows[row]
                image = self.images[window.image]
                if window.is_last and (window.top, window.left) == (0, 0) and not image.is_resized:
                    label_maps.append(self._crop(label, image).to(torch.int16))
                    continue
                blended = blended or self._start_blending(image, choose_labels)
                blended.add(window.top, window.left, probabilities.float())
                if window.is_last:
                    label_maps.append(self._finish_blending(blended, image, choose_labels))
                    blended = None
        targets = [image.target.cpu() for image in self.images if image.target is not None]
        fields = {"label": label_maps} | ({"target": targets} if targets else {})
        return {name: window_blending.pad_label_maps(maps) for name, maps in fields.items()}

    def _start_blending(self, image: MapImage, choose_labels: ChooseLabels) -> window_blending.BlendedImage:
        height, width = (max(length, side) for length, side in zip(image.pixels.shape[1:], self.window, strict=True))
        return window_blending.BlendedImage(
            (height, width), self.window, choose_labels, keeps_probabilities=image.is_resized
        )

    def _finish_blending(
        self, blended: window_blending.BlendedImage, image: MapImage, choose_labels: ChooseLabels
    ) -> Tensor:
        result = self._crop(blended.finish(), image)
        return window_blending.resize_to_labels(result, image.size, choose_labels) if image.is_resized else result

    def _crop(self, values: Tensor, image: MapImage) -> Tensor:
        """Return values (..., H, W) without the margins of an image that is smaller than a window."""
        for axis, length in zip((-2, -1), image.pixels.shape[1:], strict=True):
            values = values.narrow(axis, (values.shape[axis] - length) // 2, length)
        return values
