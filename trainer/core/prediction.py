"""Predictions of a task as named tensors, and their conversion to columns in the units and class names of the data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.core import prediction_columns
from trainer.core.batch import IGNORE_INDEX
from trainer.core.dataset_info import DatasetInfo, TargetInfo
from trainer.core.prediction_columns import Column

Prediction = Mapping[str, Tensor]
"""Predictions (K, ...) for the K outputs of a batch, by name, as the model scales them:

``label``: class (K, ...) int64; ``IGNORE_INDEX`` where there is none, such as in padding.
``probabilities``: probability (K, C, ...) of each class.
``class_set``: whether each class is in the conformal set (K, C) bool.
``value``, ``lower``, ``upper``: numbers (K, ...) and the bounds of their intervals, scaled like the targets.
``tokens``: token ids (K, T) int64, padded with ``IGNORE_INDEX``.

A task may add fields of its own with numbers (K, ...), which are not converted.
"""
ChooseLabels = Callable[[Tensor], Tensor]
"""Function from class probabilities (B, C, ...) to labels (B, ...)."""


@dataclass(frozen=True)
class IndexedImage:
    """Image whose pixels are indices of colors.

    Attributes:
        indices: Indices (H, W) uint8.
        palette: RGB color of each index, from 0 to 255.
    """

    indices: np.ndarray
    palette: Sequence[Sequence[int]]


@dataclass(frozen=True)
class DecodedPrediction:
    """Predictions in the units and names of the data.

    Attributes:
        columns: Cells (K) of each column, by title; a cell of several values is a list or an array.
        images: Image of each PNG file to write, by relative path, such as a segmentation mask: (H, W) uint8, uint16 or
            bool, (H, W, 2 to 4) uint8 with color or opacity, or with a palette.
    """

    columns: dict[str, Column]
    images: dict[str, np.ndarray | IndexedImage] = field(default_factory=dict)

    def embed_images(self) -> dict[str, Column]:
        """Return the columns with the pixels of images in place of their paths."""
        if not self.images:
            return self.columns
        pixels = {path: get_pixels(image) for path, image in self.images.items()}
        return {
            title: [pixels.get(cell, cell) for cell in column] if _has_paths(column, pixels) else column
            for title, column in self.columns.items()
        }


def get_pixels(image: np.ndarray | IndexedImage) -> np.ndarray:
    """Return the pixels of an image; of one with a palette their indices."""
    return image.indices if isinstance(image, IndexedImage) else image


def _has_paths(column: Column, pixels: Mapping[str, np.ndarray]) -> bool:
    return not isinstance(column, np.ndarray) and len(column) > 0 and column[0] in pixels


def concatenate(parts: Sequence[Prediction]) -> dict[str, Tensor]:
    """Concatenate the predictions of several batches; shorter ones are padded at the end of each dimension.

    Args:
        parts: Predictions with the same fields. Integers are padded with ``IGNORE_INDEX``, other numbers with NaN.
    """
    return {name: _concatenate_padded([part[name] for part in parts]) for name in parts[0]}


def _concatenate_padded(tensors: Sequence[Tensor]) -> Tensor:
    shapes = [tensor.shape[1:] for tensor in tensors]
    if len(set(shapes)) == 1:
        return torch.cat(list(tensors))
    size = [max(lengths) for lengths in zip(*shapes, strict=True)]
    fill = torch.nan if tensors[0].is_floating_point() else IGNORE_INDEX
    padded = tensors[0].new_full((sum(map(len, tensors)), *size), fill)
    start = 0
    for tensor in tensors:
        padded[(slice(start, start + len(tensor)), *map(slice, tensor.shape[1:]))] = tensor
        start += len(tensor)
    return padded


def decode(prediction: Prediction, info: DatasetInfo) -> dict[str, Column]:
    """Convert predictions to columns: class names, ``p_CLASS`` per class, numbers in the original units, text.

    Args:
        prediction: Predictions of K outputs.
        info: Info of the data set, with class names, units and tokenizers.
    """
    columns: dict[str, Column] = {}
    for name, values in prediction.items():
        decoder = _DECODERS.get(name)
        columns |= {name: values.cpu().numpy()} if decoder is None else decoder(name, values.cpu(), info)
    return columns


def decode_target(target: Tensor, info: DatasetInfo) -> Column | None:
    """Convert targets (K, ...) to one column, like predictions; None for numbers with several columns.

    Args:
        target: Classes, token ids or scaled numbers.
        info: Info of the data set.
    """
    if target.is_floating_point():
        columns = _decode_values("target", target.cpu(), info)
    elif info.text.target_tokenizer is not None:
        columns = _decode_tokens("target", target.cpu(), info)
    else:
        columns = _decode_labels("target", target.cpu(), info)
    return columns.get("target")


def to_plain_cells(column: Column) -> list[Any]:
    """Return the cells of a column as values of JSON: NaN and infinity are None, arrays are lists.

    Args:
        column: Cells.
    """
    return [_to_plain(cell) for cell in (column.tolist() if isinstance(column, np.ndarray) else column)]


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list):
        return [_to_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def get_class_names(info: DatasetInfo, num_classes: int) -> Sequence[Any]:
    """Return the names of the classes, or their numbers if the data set has no names.

    Args:
        info: Info of the data set.
        num_classes: Number of classes.
    """
    return list(info.class_names) or list(range(num_classes))


def unscale(values: Tensor, target: TargetInfo) -> np.ndarray:
    """Convert numbers (K, ...) that are scaled like the targets to the original units, in float64.

    Args:
        values: Scaled numbers; with ``channel_moments`` the last dimension is that of the channels.
        target: Units of the targets.
    """
    return prediction_columns.unscale(values.double().numpy(), *target.moments)


def _decode_labels(name: str, values: Tensor, info: DatasetInfo) -> dict[str, Column]:
    names = np.array([*get_class_names(info, int(values.max()) + 1 if values.numel() else 0), None], dtype=object)
    flat = values.numpy()
    cells = names[np.where(flat < 0, len(names) - 1, flat)]
    if cells.ndim == 1:
        return {name: cells.tolist()}
    return {name: [[cell for cell in row.ravel() if cell is not None] for row in cells]}


def _decode_probabilities(_: str, values: Tensor, info: DatasetInfo) -> dict[str, Column]:
    return prediction_columns.make_probability_columns(values.numpy(), get_class_names(info, values.shape[1]))


def _decode_class_sets(_: str, values: Tensor, info: DatasetInfo) -> dict[str, Column]:
    return prediction_columns.make_class_set_column(values.numpy(), get_class_names(info, values.shape[1]))


def _decode_values(name: str, values: Tensor, info: DatasetInfo) -> dict[str, Column]:
    return prediction_columns.make_number_columns(name, unscale(values, info.target), info.target.channel_names)


def _decode_tokens(name: str, values: Tensor, info: DatasetInfo) -> dict[str, Column]:
    tokenizer = info.text.target_tokenizer or info.text.tokenizer
    rows = [_strip_end(row, info.text.end_token) for row in values.tolist()]
    return {name if name != "tokens" else "text": rows if tokenizer is None else list(map(tokenizer.decode, rows))}


def _strip_end(tokens: list[int], end_token: int | None) -> list[int]:
    """Return the tokens before the end token and the padding."""
    end = next((i for i, token in enumerate(tokens) if token < 0 or token == end_token), len(tokens))
    return tokens[:end]


_DECODERS: Mapping[str, Callable[[str, Tensor, DatasetInfo], dict[str, Column]]] = {
    "label": _decode_labels,
    "probabilities": _decode_probabilities,
    "class_set": _decode_class_sets,
    "value": _decode_values,
    "lower": _decode_values,
    "upper": _decode_values,
    "tokens": _decode_tokens,
}
