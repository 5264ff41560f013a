"""Base class of data sets."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from trainer.core import label_maps
from trainer.core import prediction as predictions
from trainer.core import shapes as shape_lines
from trainer.core.dataset_info import DatasetInfo
from trainer.core.prediction import DecodedPrediction, IndexedImage, Prediction, get_class_names
from trainer.core.prediction_columns import join_identifiers
from trainer.core.preprocessing import Preprocessing
from trainer.core.split import Split
from trainer.utils.errors import DataError


class Dataset(ABC):
    """Base class of data sets.

    ``shapes`` names the inputs of a batch and the shape of its target; it is read from the source, before anything is
    imported, to check whether a model is compatible.
    """

    shapes: ClassVar[str] = ""
    """Such as ``x (B, T, F) -> (B)``."""

    train: Split
    val: Split
    test: Split
    info: DatasetInfo
    fitted: Preprocessing | None = None
    """Preprocessing fitted on the training rows; None where the options determine everything."""
    options: Mapping[str, Any] = MappingProxyType({})
    """Options by which ``read`` parses other files, as in the configuration."""
    can_encode_changed_files: ClassVar[bool] = True
    """True if a saved run can encode changed files; False where the model has an embedding of each user or entity."""
    has_independent_rows: ClassVar[bool] = True
    """Whether each row given to ``encode_rows`` is an example; False for a history, whose rows belong together."""
    reusable_values: ClassVar[Mapping[str, Sequence[str]]] = MappingProxyType({})
    """Fitted values that encode inputs, each with the options that it depends on: ``init_from`` reuses those of a run
    with the same class and options. Splits, classes and targets belong to the rows and are fitted anew.
    """
    counted_values: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """Fitted value whose entries a size counts, such as ``{"vocab_size": "tokenizer"}``. With other entries, parameters
    of this size mean something else, so that ``init_from`` does not copy them.
    """
    file_suffixes: ClassVar[Sequence[str]] = ()
    """Suffixes, in lower case, of the files of a user directory that are read; empty for all."""

    @classmethod
    def get_feature_names(cls, fitted_values: Mapping[str, Any]) -> Sequence[str]:
        """Return the names of the features in the order of the inputs; empty if they have none.

        Args:
            fitted_values: Values of the preprocessing, also of another run.
        """
        return ()

    def input_shapes(self) -> dict[str, list[int]]:
        """Return the shape of one row of each input, by name."""
        row = self.train.to_model_inputs(self.train.batch(torch.zeros(1, dtype=torch.long), 0))
        return {name: list(value.shape[1:]) for name, value in row.inputs.items()}

    @classmethod
    def get_user_paths(cls, options: Mapping[str, Any], paths: Mapping[str, Path]) -> dict[str, Path]:
        """Return the user files that a data set reads, by key.

        Args:
            options: Options of the data set, as in the configuration.
            paths: Those of them that are ``DataPath``.
        """
        return dict(paths)

    def read(self, path: str) -> Split:
        """Read another user file, encoded like the training rows: without targets, unless the file has them.

        Uses only ``info`` and ``fitted``: the training files may not exist anymore.

        Raises:
            DataError: The file does not exist or is not of this kind.
        """
        raise DataError("input: the data of this run cannot read files; without input its own test rows are used")

    def read_chunks(self, path: str, with_targets: bool = False) -> Iterator[Split]:
        """Read another user file in chunks that fit in memory, encoded as by ``read``; by default in one chunk.

        Further parameters are options of ``train predict``; their annotations are checked.

        Args:
            path: File or folder.
            with_targets: Read the targets too, for ``train evaluate``; otherwise the file needs none.

        Raises:
            DataError: The file does not exist, is not of this kind, or has no targets.
        """
        split = self.read(path)
        if with_targets and split.get_targets() is None:
            raise DataError(f"input: {path} has no targets")
        yield split

    def encode_rows(self, rows: Any) -> Split:
        """Encode rows in memory like the training rows.

        Args:
            rows: Data frame, list of dicts, arrays, texts, images or graphs.

        Raises:
            DataError: They are not of the kind that this data set reads.
        """
        raise DataError(
            f"rows: the data of this run cannot be given as a {type(rows).__name__}; give the path of a file"
        )

    def row_schema(self) -> dict[str, Any]:
        """Return the JSON schema of one row of ``encode_rows``, which ``train serve`` shows and checks.

        Uses only ``info`` and ``fitted``: the training files may not exist anymore.
        """
        return {}

    def describe_encoding(self) -> dict[str, Any]:
        """Return how rows of files become inputs, as values of JSON, for programs without this package.

        ``program`` names the program that an export has as ``predict.py``, in ``trainer/export/standalone``. Empty if
        there is none for this data set. Uses only ``info`` and ``fitted``: the training files may not exist anymore.
        """
        return {}

    def decode_prediction(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        """Convert the predictions of a split to columns, and to images such as segmentation masks.

        Args:
            prediction: Predictions (K, ...) of the split; its field ``target``, if any, has the targets.
            split: The split, from ``read_chunks`` or ``test``.
            first: Number of its first row.
        """
        if self.has_label_maps(prediction):
            return self._decode_label_maps(prediction, split, first)
        fields = {name: values for name, values in prediction.items() if name != "target"}
        decoded = predictions.decode(fields, self.info)
        target = predictions.decode_target(prediction["target"], self.info) if "target" in prediction else None
        decoded |= {} if target is None else {"target": target}
        return DecodedPrediction(join_identifiers(split.get_output_columns(first), decoded))

    def has_label_maps(self, prediction: Prediction) -> bool:
        """Return whether a prediction has the class of each pixel of images, (K, H, W), which are decoded to masks."""
        label = prediction.get("label")
        return label is not None and label.dim() == 3 and bool(self.image_inputs())

    def decode_masks(self, labels: Tensor) -> list[np.ndarray]:
        """Return the pixels of the mask of each image, without its palette.

        Args:
            labels: Class of each pixel, (K, H, W), padded at the end with ``IGNORE_INDEX``.
        """
        maps = map(label_maps.crop_padding, labels.cpu().numpy())
        return [predictions.get_pixels(self.encode_mask(label_map)) for label_map in maps]

    def _decode_label_maps(self, prediction: Prediction, split: Split, first: int) -> DecodedPrediction:
        names = get_class_names(self.info, self.info.num_classes or 0)
        return label_maps.decode_label_maps(
            prediction["label"],
            split.get_output_columns(first),
            split.get_mask_paths(first),
            names,
            self.encode_mask,
            prediction.get("target"),
        )

    def encode_mask(self, labels: np.ndarray) -> np.ndarray | IndexedImage:
        """Convert the class of each pixel (H, W) to the pixels of a mask file; by default class indices with colors.

        Uses only ``info`` and ``fitted``: the training files may not exist anymore.
        """
        return label_maps.encode_class_indices(labels, self.info.num_classes or 1)

    def complete_info(self, info: DatasetInfo) -> DatasetInfo:
        """Return stored info with its functions and tokenizers, rebuilt from ``fitted``.

        Uses only ``info`` and ``fitted``: the training files may not exist anymore.
        """
        return info

    def image_inputs(self) -> tuple[str, ...]:
        """Return the names of the inputs (B, C, H, W), by ``shapes``; ``pixel_bounds`` has their range of values."""
        parsed = shape_lines.parse_shapes(self.shapes)
        return shape_lines.find_image_inputs(parsed) if parsed else ()

    def pixel_bounds(self) -> tuple[Sequence[float], Sequence[float]] | None:
        """Return the values of black and white pixels in each channel of ``image_inputs``; None where there are none.

        Uses only ``info`` and ``fitted``: the training files may not exist anymore.
        """
        return self.info.image.bounds
