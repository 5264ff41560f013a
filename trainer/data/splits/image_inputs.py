"""Images that a trained classifier is applied to: files, IDX files, and images in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from trainer.core.dataset_info import DatasetInfo
from trainer.core.prediction import get_class_names
from trainer.core.split import TensorSplit
from trainer.data.readers import idx_format, image_file, image_input, image_objects
from trainer.data.readers.image_file import ImageView
from trainer.data.readers.image_input import OnError
from trainer.data.splits.image_splits import PixelMixin
from trainer.data.splits.pixel_scale import PixelScale
from trainer.utils.errors import DataError

CHUNK_BYTES, MAX_CHUNK_IMAGES = 1 << 26, 1 << 12
"""Maximum number of bytes and of images in a chunk."""


class NamedPixelSplit(PixelMixin, TensorSplit):
    """Images as uint8 in memory, with names, and with targets if they are labeled.

    Args:
        x: Images, (N, C, H, W) uint8.
        scale: Normalization.
        paths: Name of each image; None for row numbers.
        target: Classes (N,) int64; None without labels.
    """

    def __init__(self, x: Tensor, scale: PixelScale, paths: Sequence[str] | None, target: Tensor | None = None):
        super().__init__({"x": x}, target)
        self.scale = scale
        self.paths = paths

    def to(self, device: torch.device) -> NamedPixelSplit:
        target = None if self.target is None else self.target.to(device)
        return NamedPixelSplit(self.inputs["x"].to(device), self.scale.to(device), self.paths, target)


def make_view(
    info: DatasetInfo, fit: Literal["cut", "cover", "pad", "stretch"] = "pad", window: tuple[int, int] | None = None
) -> ImageView:
    """Return the decoding options for the images of a data set.

    Args:
        info: Sizes of the data set.
        fit: Resize mode, see ``ImageView``.
        window: Intensity window of 16-bit images.
    """
    return ImageView(info.sizes["in_channels"], (info.sizes["height"], info.sizes["width"]), fit, window)


def get_scale(info: DatasetInfo) -> PixelScale:
    """Return the normalization of a data set, from its pixel bounds."""
    assert info.image.bounds is not None, "image data sets that read files have bounds"
    return PixelScale.from_range(*info.image.bounds)


def read(path: str, view: ImageView, scale: PixelScale) -> NamedPixelSplit:
    """Read an image file, or all images in a folder and its subfolders.

    Args:
        path: File or folder.
        view: Channels and size of the images.
        scale: Normalization.

    Raises:
        DataError: The path is missing, a folder without images, or has images that cannot be read.
    """
    chunks = list(read_chunks(path, view, scale))
    names = [name for chunk in chunks for name in chunk.paths or ()]
    return NamedPixelSplit(torch.cat([chunk.inputs["x"] for chunk in chunks]), scale, names)


def read_chunks(
    path: str,
    view: ImageView,
    scale: PixelScale,
    on_error: OnError = "error",
    class_names: Sequence[Any] | None = None,
) -> Iterator[NamedPixelSplit]:
    """Read the images of ``read``, or labeled ones, in chunks that fit in memory.

    Args:
        path: File or folder; for labeled images, a folder with one subfolder per class.
        view: Channels and size of the images.
        scale: Normalization.
        on_error: What is done about files that cannot be read.
        class_names: Classes of labeled images; None for images without labels.

    Raises:
        DataError: The path is missing, a folder without images or, for labeled images, with other classes, or has
            images that cannot be read.
    """
    labels = None
    if class_names is None:
        files = image_input.find_images(path)
    else:
        files, labels = image_input.find_labeled_images(path, [str(name) for name in class_names])
    reader = image_input.ImageReader(files, on_error)
    assert view.shape is not None, "classifiers have inputs of one size"
    groups = image_input.split_evenly(list(reader.read_headers()), _count_chunk_rows(view.channels, *view.shape))
    for rows, images in reader.iter_groups(groups, partial(image_file.decode, view=view)):
        target = None if labels is None else torch.tensor([labels[row] for row in rows])
        yield NamedPixelSplit(torch.stack(images), scale, files.select_rows(rows).names, target)


def read_folder_or_idx(
    path: str, info: DatasetInfo, scale: PixelScale, with_targets: bool, on_error: OnError
) -> Iterator[NamedPixelSplit]:
    """Read the images of a data set whose own files are IDX: an IDX file, or image files as in ``read_chunks``.

    Args:
        path: IDX file of images, image file, or folder.
        info: Sizes and classes of the data set.
        scale: Normalization.
        with_targets: Read labels too: of the IDX file of the same name, or of class folders.
        on_error: What is done about image files that cannot be read.

    Raises:
        DataError: The path is missing or has other contents, or images cannot be read.
    """
    names = [str(name) for name in get_class_names(info, info.sizes["num_classes"])]
    if idx_format.is_idx_file(path):
        yield from _read_idx_chunks(Path(path).expanduser(), info, scale, names if with_targets else None)
    else:
        yield from read_chunks(path, make_view(info), scale, on_error, names if with_targets else None)


def _read_idx_chunks(
    path: Path, info: DatasetInfo, scale: PixelScale, class_names: Sequence[str] | None
) -> Iterator[NamedPixelSplit]:
    size = info.sizes["height"], info.sizes["width"]
    labels = None if class_names is None else idx_format.read_labels_of(path, image_input.OPTION)
    start = 0
    for images in idx_format.iter_images(path, _count_chunk_rows(1, *size), image_input.OPTION):
        if images.shape[1:] != size:
            given, needed = (f"{width} x {height}" for height, width in (images.shape[1:], size))
            raise DataError(f"input: images in {path.absolute()} are {given}; this run was trained on {needed}")
        target = None
        if labels is not None and class_names is not None:
            target = torch.from_numpy(labels[start : start + len(images)]).long() - int(class_names[0])
            if (target < 0).any() or (target >= len(class_names)).any():
                raise DataError(
                    f"input: labels of {path.absolute()} are not {class_names[0]} to {class_names[-1]}, the classes of"
                    " this run"
                )
        yield NamedPixelSplit(torch.from_numpy(images)[:, None], scale, None, target)
        start += len(images)


def _count_chunk_rows(channels: int, height: int, width: int) -> int:
    return max(1, min(MAX_CHUNK_IMAGES, CHUNK_BYTES // math.prod((channels, height, width))))


def encode_images(rows: Any, view: ImageView, scale: PixelScale) -> NamedPixelSplit:
    """Encode images in memory like their files.

    Args:
        rows: Images, see ``image_objects.convert_all``.
        view: Channels and size of the images.
        scale: Normalization.

    Raises:
        DataError: They are something else, none, or cannot be read.
    """
    images, names = image_objects.convert_all(
        rows, partial(image_file.convert_image, view=view), partial(image_file.decode, view=view)
    )
    return NamedPixelSplit(torch.stack(images), scale, names)
