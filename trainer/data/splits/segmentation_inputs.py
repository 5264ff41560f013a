"""Images that a trained segmentation model is applied to: files with or without masks, and images in memory."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from trainer.core import class_colors, label_maps
from trainer.core.label_maps import make_mask_paths
from trainer.data.readers import image_file, image_input, image_objects, mask_file, masks, text_file
from trainer.data.readers.image_file import ImageHeader, ImageView
from trainer.data.readers.image_input import ImageFiles, ImageReader
from trainer.data.readers.mask_file import ClassMap, ImageMaskPair
from trainer.data.readers.skipped_rows import OnError
from trainer.data.splits.image_windows import ImageWindows, MapImage
from trainer.data.splits.pixel_scale import PixelScale

CHUNK_PIXELS, MAX_CHUNK_IMAGES = 1 << 23, 1 << 8
"""Maximum number of pixels and of images in a chunk of several images."""
OVERLAY_DIR = "overlays"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SegmentationInputs:
    """Encoding of images for a trained segmentation model.

    Images have the scale that they had in training: that of the file, or that of images which were resized to
    ``view.size``. Where images were cropped to a square, all of the longer side is predicted, in several windows.

    Args:
        view: Channels, size and intensity window of the training images.
        scale: Normalization.
        window: Height and width of a window.
        overlap: Fraction of a window that the next one overlaps.
        overlay: Request images with the predicted classes over them.
    """

    view: ImageView
    scale: PixelScale
    window: tuple[int, int]
    overlap: float = 0.5
    overlay: bool = False

    @property
    def whole_view(self) -> ImageView:
        """Decoding options that keep all of an image."""
        return replace(self.view, fit="cover") if self.view.fit == "cut" else self.view

    def read_chunks(self, path: str, on_error: OnError) -> Iterator[ImageWindows]:
        """Read an image file, or all images in a folder and its subfolders; beside ``masks/`` those in ``images/``.

        Args:
            path: File or folder.
            on_error: What is done about files that cannot be read.

        Raises:
            DataError: The path is missing, a folder without images, or has images that cannot be read.
        """
        files = image_input.find_images(_leave_out_masks(path))
        mask_paths = make_mask_paths(files.names)
        reader = ImageReader(files, on_error)
        groups = group_by_pixels(reader.read_headers(), self.view)
        decode = partial(image_file.decode_with_size, view=self.whole_view)
        for rows, images in reader.iter_groups(groups, decode):
            yield self._make_split(
                [
                    MapImage(pixels, files.names[row], mask_paths[row], size, path=files.paths[row])
                    for row, (pixels, size) in zip(rows, images, strict=True)
                ]
            )

    def read_labeled_chunks(
        self, path: str, on_error: OnError, class_map: ClassMap, ignore: int | None
    ) -> Iterator[ImageWindows]:
        """Read images with masks of the same names, as the training rows were read: cropped where those were.

        Args:
            path: Folder with ``images/`` and ``masks/``.
            on_error: What is done about files that cannot be read.
            class_map: Map from mask values to classes.
            ignore: Mask value that is ignored.

        Raises:
            DataError: The path is missing, has another layout, or has files that cannot be read or do not match.
        """
        root = text_file.check_folder(path, "it must be a folder with images/ and masks/", image_input.OPTION)
        pairs = masks.find_pairs(root, image_input.OPTION)
        files = ImageFiles.from_folder(root, [pair.image for pair in pairs])
        mask_paths = make_mask_paths(files.names)
        mask_of = {pair.image: pair.mask for pair in pairs}
        reader = ImageReader(files, on_error)
        groups = group_by_pixels(reader.read_headers(), self.view)

        def decode(image: Any) -> tuple[Tensor, Tensor]:
            return mask_file.decode_pair(ImageMaskPair(image, mask_of[image]), self.view, class_map, ignore)

        for rows, images in reader.iter_groups(groups, decode):
            yield self._make_split(
                [
                    MapImage(pixels, files.names[row], mask_paths[row], (*target.shape,), target, files.paths[row])
                    for row, (pixels, target) in zip(rows, images, strict=True)
                ]
            )

    def encode_images(self, rows: Any) -> ImageWindows:
        """Encode images in memory like their files.

        Args:
            rows: Images, see ``image_objects.convert_all``.

        Raises:
            DataError: They are something else, none, or cannot be read.
        """
        view = self.whole_view
        images, names = image_objects.convert_all(
            rows,
            lambda image: (image_file.convert_image(image, view), image_file.get_upright_size(image)),
            partial(image_file.decode_with_size, view=view),
        )
        mask_paths = make_mask_paths(names or range(len(images)))
        return self._make_split(
            [
                MapImage(pixels, None if names is None else names[row], mask_path, size)
                for row, ((pixels, size), mask_path) in enumerate(zip(images, mask_paths, strict=True))
            ]
        )

    def _make_split(self, images: Sequence[MapImage]) -> ImageWindows:
        stride = [max(1, round(length * (1 - self.overlap))) for length in self.window]
        return ImageWindows(images, self.scale, self.window, (stride[0], stride[1]), overlay=self.overlay)


def _leave_out_masks(path: str) -> str:
    """Return ``images/`` of a folder in the layout of training: its masks are no images to predict."""
    folders = [Path(path, name).expanduser() for name in ("images", "masks")]
    if not all(map(os.path.isdir, folders)):
        return path
    log.warning("input: %s has images/ and masks/; only images/ is read", path)
    return str(folders[0])


def group_by_pixels(headers: Mapping[int, ImageHeader], view: ImageView) -> list[Sequence[int]]:
    """Return the numbers of consecutive files that are read together, with at most ``CHUNK_PIXELS`` pixels.

    Label maps of one group are padded to the size of the largest, which counts for all of them.

    Args:
        headers: Header of each file, by number.
        view: Size of the decoded images.
    """
    groups: list[list[int]] = []
    height = width = 0
    for row, header in headers.items():
        decoded = view.shape or (1, 1)
        height, width = max(height, header.height, decoded[0]), max(width, header.width, decoded[1])
        count = len(groups[-1]) + 1 if groups else 1
        if not groups or count > MAX_CHUNK_IMAGES or count * height * width > CHUNK_PIXELS:
            groups.append([])
            height, width = max(header.height, decoded[0]), max(header.width, decoded[1])
        groups[-1].append(row)
    return [*groups]


def draw_overlays(
    split: ImageWindows, labels: Tensor, colors: Sequence[tuple[int, int, int]], intensity_window: Any
) -> dict[str, np.ndarray]:
    """Return each image of a split with the predicted classes over it, by relative path.

    Args:
        split: Images read from files.
        labels: Label maps (K, H, W), padded at the end.
        colors: Color of each class.
        intensity_window: Intensity window of 16-bit images.
    """
    view = ImageView(3, None, "cut", intensity_window)
    overlays = {}
    for image, label_map in zip(split.images, labels.numpy(), strict=True):
        assert image.path is not None, "overlays are drawn over images that were read from files"
        pixels = image_file.decode(image.path, view).permute(1, 2, 0).numpy()
        classes = label_maps.crop_padding(label_map)
        overlays[f"{OVERLAY_DIR}/{image.mask_path}{label_maps.SUFFIX}"] = class_colors.overlay_classes(
            pixels, classes, colors
        )
    return overlays
