"""Images that a trained classifier is applied to: files, IDX files, and images in memory."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from trainer.core.dataset import Dataset
from trainer.core.prediction import get_class_names
from trainer.core.split import TensorSplit
from trainer.data.readers import idx_format, image_file, image_input, image_objects
from trainer.data.readers.image_file import ImageView
from trainer.data.readers.skipped_rows import OnError
from trainer.data.splits.image_splits import PixelMixin
from trainer.data.splits.pixel_scale import PixelScale
from trainer.utils.errors import DataError
from trainer.utils.text import join_names

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


class FixedSizeImageDataset(Dataset):
    """Base class of image classification data sets, which read images of any size in the size of their own."""

    reads_idx_files: ClassVar[bool] = True
    """Whether a file of images may be an IDX file."""

    def get_view(self) -> ImageView:
        """Return the decoding options; by default the longer side of an image is resized, and the shorter padded."""
        sizes = self.info.sizes
        return ImageView(sizes["in_channels"], (sizes["height"], sizes["width"]), "pad")

    def get_scale(self) -> PixelScale:
        """Return the normalization that was fitted, or that of the pixel bounds of a data set that fits none."""
        if self.fitted is not None:
            return PixelScale(**self.fitted.get("scale"))
        assert self.info.image.bounds is not None, "image data sets that read files have bounds"
        return PixelScale.from_range(*self.info.image.bounds)

    def read(self, path: str) -> NamedPixelSplit:
        scale = self.get_scale()
        chunks = list(read_chunks(path, self.get_view(), scale))
        names = [name for chunk in chunks for name in chunk.paths or ()]
        return NamedPixelSplit(torch.cat([chunk.inputs["x"] for chunk in chunks]), scale, names)

    def read_chunks(
        self, path: str, with_targets: bool = False, on_error: Literal["error", "skip"] = "error"
    ) -> Iterator[NamedPixelSplit]:
        """Read an IDX file of images, or image files of a folder and its subfolders; with targets, labels too.

        Args:
            path: IDX file, image file or folder.
            with_targets: Read labels: the IDX file of labels next to that of images, or class folders.
            on_error: Refuse unreadable image files, or skip and list them.

        Raises:
            DataError: The path is missing or has other contents, or images cannot be read.
        """
        names = [str(name) for name in get_class_names(self.info, self.info.sizes["num_classes"])]
        class_names = names if with_targets else None
        if idx_format.is_idx_file(path):
            yield from read_idx_chunks(Path(path).expanduser(), self.get_view(), self.get_scale(), class_names)
        else:
            yield from read_chunks(path, self.get_view(), self.get_scale(), on_error, class_names)

    def describe_encoding(self) -> dict[str, Any]:
        scale = self.get_scale()
        return {
            "program": "images",
            "view": asdict(self.get_view()),
            "mean": scale.mean.flatten().tolist(),
            "std": scale.std.flatten().tolist(),
            "reads_idx_files": self.reads_idx_files,
        }

    def encode_rows(self, rows: Any) -> NamedPixelSplit:
        view = self.get_view()
        convert, decode = partial(image_file.convert_image, view=view), partial(image_file.decode, view=view)
        images, names = image_objects.convert_all(rows, convert, decode)
        return NamedPixelSplit(torch.stack(images), self.get_scale(), names)

    def row_schema(self) -> dict[str, Any]:
        return dict(image_objects.ROW_SCHEMA)


def read_chunks(
    path: str,
    view: ImageView,
    scale: PixelScale,
    on_error: OnError = "error",
    class_names: Sequence[Any] | None = None,
) -> Iterator[NamedPixelSplit]:
    """Read an image file, the images in a folder and its subfolders, or labeled ones, in chunks that fit in memory.

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


def read_idx_chunks(
    path: Path, view: ImageView, scale: PixelScale, class_names: Sequence[str] | None
) -> Iterator[NamedPixelSplit]:
    """Read the images of an IDX file in chunks that fit in memory.

    Args:
        path: IDX file of images.
        view: Size of the images, which must be that of the run.
        scale: Normalization.
        class_names: Classes of images with labels, which are numbers; None for images without labels.

    Raises:
        DataError: The file is corrupt, has no images or those of another size, or labels are missing or unknown.
    """
    assert view.shape is not None, "classifiers have inputs of one size"
    size = view.shape
    labels = None if class_names is None else idx_format.read_labels_of(path, image_input.OPTION)
    start = 0
    for images in idx_format.iter_images(path, _count_chunk_rows(1, *size), size, image_input.OPTION):
        target = None if labels is None else _index_labels(labels[start : start + len(images)], class_names or (), path)
        yield NamedPixelSplit(torch.from_numpy(images)[:, None], scale, None, target)
        start += len(images)


def _index_labels(labels: np.ndarray, class_names: Sequence[str], path: Path) -> Tensor:
    """Return the index (N,) of the class of each label. Raises DataError for a label that is no class."""
    index_by_label = {name: index for index, name in enumerate(class_names)}
    unknown = sorted({*np.unique(labels).tolist()} - {int(name) for name in class_names if name.isdecimal()})
    if unknown:
        raise DataError(
            f"input: the labels of {path.absolute()} have the value {unknown[0]}, which is no class of this run"
            f" ({join_names(class_names)})"
        )
    return torch.tensor([index_by_label[str(label)] for label in labels.tolist()])


def _count_chunk_rows(channels: int, height: int, width: int) -> int:
    return max(1, min(MAX_CHUNK_IMAGES, CHUNK_BYTES // math.prod((channels, height, width))))
