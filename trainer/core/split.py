"""Splits of a data set: rows indexed by number."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from trainer.core import label_maps, prediction
from trainer.core.batch import IGNORE_INDEX, Batch
from trainer.core.device_copy import copy_to_device
from trainer.core.prediction import ChooseLabels, Prediction
from trainer.core.prediction_columns import Column

CHUNK_BYTES = 1 << 24
"""Bytes gathered by one indexing call, which serves several small batches or one large one."""


class Split(ABC):
    """Rows of a split, indexed by number. The rows of a batch depend on (index, epoch) alone."""

    top_k: int | None = None
    """Number of rows with the highest probability of the last class that predictions are reported for; None for all."""

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def batch(self, index: Tensor, epoch: int) -> Batch:
        """Return rows as stored; ``to_model_inputs`` completes them on the device.

        Args:
            index: Row numbers (B,).
            epoch: Epoch, from 0, for splits whose rows change between epochs.
        """

    def iter_batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """Yield the batches of an epoch; override it where one gather for several batches is faster.

        Args:
            order: Row numbers (B,) of each batch.
            epoch: Epoch, from 0.
        """
        return (self.batch(index, epoch) for index in order)

    def to_model_inputs(self, batch: Batch) -> Batch:
        """Convert a stored batch, already on the device, to model inputs, such as bytes to floats."""
        return batch

    def get_targets(self) -> Tensor | None:
        """Return all targets, so that a task can validate them before the first step.

        Target maps that do not fit in memory are replaced by their distinct values. None if there are no targets.
        """
        return None

    def get_lengths(self) -> Tensor | None:
        """Return the length of each row, (N,) on the CPU, by which the loader buckets; None if all are equal."""
        return None

    def count_examples(self) -> tuple[int, str]:
        """Return the number of examples and their plural noun, such as ``rows``."""
        return len(self), "rows"

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        """Return a column title and the names of all rows from ``first`` on: file names, or numbers."""
        return "row", range(first, first + len(self))

    def get_output_columns(self, first: int) -> dict[str, Column]:
        """Return the columns that identify the outputs of a model for the rows of this split, by title.

        Args:
            first: Number of the first row.
        """
        title, names = self.get_row_names(first)
        return {title: names}

    def get_mask_paths(self, first: int) -> Sequence[str]:
        """Return a distinct path without suffix for the mask that is predicted for each row, if they are images.

        Args:
            first: Number of the first row.
        """
        return label_maps.make_mask_paths(self.get_row_names(first)[1])

    def collect_outputs(
        self, parts: Iterable[tuple[Tensor, Prediction]], choose_labels: ChooseLabels
    ) -> dict[str, Tensor]:
        """Return the predictions of the split, in its order, from those of its batches.

        Override it where the rows are parts of larger examples, such as windows of an image.

        Args:
            parts: Row numbers (B,) of each batch, and its predictions (K, ...) on the CPU, where K is the number of
                rows, or of outputs such as the nodes of a graph in one batch.
            choose_labels: Function of the task from probabilities to labels, for probabilities that are combined.
        """
        index, fields = zip(*parts, strict=True)
        predictions, rows = prediction.concatenate(fields), torch.cat(index)
        if any(len(values) != len(rows) for values in predictions.values()):
            return predictions  # outputs of a graph, in one batch
        order = rows.argsort()
        return {name: values[order] for name, values in predictions.items()}

    def get_groups(self) -> Tensor | None:
        """Return the group (N,) of each row, from each of which ``top_k`` rows are selected; None for a single group.

        The rows of a group are consecutive.
        """
        return None

    def count_bytes(self) -> int | None:
        """Return the size in memory; None for a split that is read row by row, in workers."""
        return None

    def to(self, device: torch.device) -> Split:
        """Move the split to a device; called only for splits with a size in memory."""
        return self


class TensorSplit(Split):
    """Rows held as tensors, batched by indexing.

    Args:
        inputs: ``{"x": (N, ...), ...}``.
        target: (N, ...) or None.
    """

    def __init__(self, inputs: Mapping[str, Tensor], target: Tensor | None = None):
        self.inputs = dict(inputs)
        self.target = target
        self._length = len(next(iter(self.inputs.values())))
        assert all(len(value) == self._length for value in self._tensors()), "tensors of one split differ in rows"

    def _tensors(self) -> list[Tensor]:
        return [*self.inputs.values()] + ([] if self.target is None else [self.target])

    def __len__(self) -> int:
        return self._length

    def get_targets(self) -> Tensor | None:
        return self.target

    def require_target(self) -> Tensor:
        """Return the targets of all rows.

        Raises:
            ValueError: The split has none.
        """
        if self.target is None:
            raise ValueError("these rows have no targets")
        return self.target

    def count_bytes(self) -> int:
        return sum(value.nbytes for value in self._tensors())

    def to(self, device: torch.device) -> TensorSplit:
        target = None if self.target is None else self.target.to(device)
        return TensorSplit({name: value.to(device) for name, value in self.inputs.items()}, target)

    def batch(self, index: Tensor, epoch: int) -> Batch:
        index = copy_to_device(index, self._tensors()[0].device)
        inputs = {name: value[index] for name, value in self.inputs.items()}
        target = None if self.target is None else self.target[index]
        return Batch(inputs, target, index)

    def iter_batches(self, order: Sequence[Tensor], epoch: int) -> Iterator[Batch]:
        """Gather many batches in one call and split them: 3 us a batch instead of 7 for small rows.

        Args:
            order: Row numbers (B,) int64 of each batch.
            epoch: Epoch, from 0.
        """
        if not order:
            return
        row_bytes = max(1, self.count_bytes() // max(1, self._length))
        per_chunk = max(1, CHUNK_BYTES // (row_bytes * len(order[0])))
        for start in range(0, len(order), per_chunk):
            group = order[start : start + per_chunk]
            sizes = [index.numel() for index in group]
            rows = self.batch(torch.cat(list(group)), epoch)
            columns = {name: value.split(sizes) for name, value in rows.inputs.items()}
            targets = [None] * len(group) if rows.target is None else rows.target.split(sizes)
            for i, (target, index) in enumerate(zip(targets, rows.index.split(sizes), strict=True)):
                yield Batch({name: parts[i] for name, parts in columns.items()}, target, index)


class FullBatchSplit(Split):
    """Split of a single example that is always used in full, such as a graph.

    Args:
        inputs: ``{"x": (N, ...), ...}``.
        target: Targets (K, ...) of the output rows at ``output_index``, or (N, ...) of all; None without targets.
        output_index: Rows (K,) of the output, such as labeled nodes; None for all.
        names: Columns (N,) that identify the rows, by title; None for their numbers.
    """

    def __init__(
        self,
        inputs: Mapping[str, Tensor],
        target: Tensor | None,
        output_index: Tensor | None = None,
        names: Mapping[str, Sequence[object]] | None = None,
    ):
        self.names = names
        self.full_batch = Batch(dict(inputs), target, torch.zeros(1, dtype=torch.long), output_index)

    def __len__(self) -> int:
        return 1

    def batch(self, index: Tensor, epoch: int) -> Batch:
        return self.full_batch

    def count_examples(self) -> tuple[int, str]:
        target = self.full_batch.target
        if target is None:
            return len(self), "rows"
        counted = target if target.is_floating_point() else target[target != IGNORE_INDEX]
        return len(counted), "nodes"

    def get_targets(self) -> Tensor | None:
        return self.full_batch.target

    def get_output_columns(self, first: int) -> dict[str, Column]:
        output_index, inputs = self.full_batch.output_index, next(iter(self.full_batch.inputs.values()))
        rows = range(len(inputs)) if output_index is None else output_index.tolist()
        if self.names is None:
            return {"node": rows}
        return {title: [names[row] for row in rows] for title, names in self.names.items()}

    def count_bytes(self) -> int:
        return 0

    def to(self, device: torch.device) -> FullBatchSplit:
        moved = self.full_batch.to(device)
        return FullBatchSplit(moved.inputs, moved.target, moved.output_index, self.names)
