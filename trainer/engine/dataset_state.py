"""State of a data set in a checkpoint, from which a run can be used without the files of its data."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from trainer.core import preprocessing
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.core.split import Split
from trainer.engine.dataset_info_state import info_from_state, info_state
from trainer.utils.errors import ConfigError

EXCERPT_ROWS = {"train": 1000, "val": 8, "test": 8}
"""Maximum number of first rows of each split that are saved, as examples and for comparison with samples."""
EXCERPT_BYTES = 1 << 18
"""Maximum size of the excerpt of a split, unless a single row is larger."""
MAX_ROW_BYTES = 1 << 28
"""Maximum size of a row that is saved; a graph with many million edges is larger."""
D = TypeVar("D", bound=Dataset)


class SplitExcerpt(Split):
    """First rows of a split, as model inputs.

    Args:
        rows: The rows.
        is_divisible: Whether rows can be selected by index; otherwise, as for a graph, every batch is all of ``rows``.
    """

    def __init__(self, rows: Batch, *, is_divisible: bool):
        self.full_batch = rows
        self.is_divisible = is_divisible

    def __len__(self) -> int:
        return len(self.full_batch)

    def has_row(self, row: int) -> bool:
        """Return whether the excerpt contains a row of the split."""
        return self.is_divisible and row < len(self)

    def get_targets(self) -> Tensor | None:
        return self.full_batch.target

    def batch(self, index: Tensor, epoch: int) -> Batch:
        if not self.is_divisible:
            return self.full_batch
        inputs = {name: value[index] for name, value in self.full_batch.inputs.items()}
        return Batch(inputs, None if self.full_batch.target is None else self.full_batch.target[index], index)

    def state_dict(self) -> dict[str, Any]:
        """Return the rows as plain values."""
        parts = {
            "target": self.full_batch.target,
            "index": self.full_batch.index,
            "output_index": self.full_batch.output_index,
        }
        return {"inputs": self.full_batch.inputs, **parts, "is_divisible": self.is_divisible}


def make_excerpt(split: Split, rows: int) -> SplitExcerpt | None:
    """Return the first rows of a split on the CPU; None if a single row is too large.

    Args:
        split: The split.
        rows: Maximum number of rows.
    """
    first_row = _load_first_rows(split, 1)
    size = max(1, sum(value.nbytes for value in first_row.inputs.values()))
    if size > MAX_ROW_BYTES:
        return None
    count = min(len(split), rows, max(1, EXCERPT_BYTES // size))
    if count > 1:
        excerpt = _load_first_rows(split, count)
        tensors = [*excerpt.inputs.values(), *([] if excerpt.target is None else [excerpt.target])]
        if excerpt.output_index is None and all(value.dim() and len(value) == count for value in tensors):
            return SplitExcerpt(_copy_batch(excerpt), is_divisible=True)
    return SplitExcerpt(_copy_batch(first_row), is_divisible=False)


def _load_first_rows(split: Split, count: int) -> Batch:
    return split.to_model_inputs(split.batch(torch.arange(count), 0))


def _copy_batch(batch: Batch) -> Batch:
    """Copy a batch to the CPU, without the memory that views share with the split."""

    def copy_tensor(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.detach().cpu().clone()

    inputs = {name: value.detach().cpu().clone() for name, value in batch.inputs.items()}
    return replace(
        batch,
        inputs=inputs,
        target=copy_tensor(batch.target),
        index=batch.index.cpu(),
        output_index=copy_tensor(batch.output_index),
    )


def make_dataset_state(data: Dataset) -> dict[str, Any]:
    """Return the state of a data set: preprocessing, plain fields of its info, and the first rows of each split."""
    excerpts = {name: make_excerpt(getattr(data, name), EXCERPT_ROWS[name]) for name in SPLITS}
    return {
        "version": preprocessing.VERSION if data.fitted is None else data.fitted.version,
        "fitted": None if data.fitted is None else data.fitted.values,
        "dataset_info": info_state(data.info),
        "excerpts": {name: None if excerpt is None else excerpt.state_dict() for name, excerpt in excerpts.items()},
    }


def _load_excerpt(state: Mapping[str, Any]) -> SplitExcerpt:
    batch = Batch(state["inputs"], state["target"], state["index"], state["output_index"])
    return SplitExcerpt(batch, is_divisible=state["is_divisible"])


def limit_rows(state: Mapping[str, Any], rows: int) -> dict[str, Any]:
    """Return the state of a data set with fewer rows of each split; an example that is not divisible stays whole.

    Args:
        state: State from ``make_dataset_state``, with all excerpts.
        rows: Maximum number of rows.
    """
    splits = {name: _load_excerpt(excerpt) for name, excerpt in state["excerpts"].items()}
    limited = {name: make_excerpt(split, rows) if split.is_divisible else split for name, split in splits.items()}
    return {**state, "excerpts": {name: excerpt and excerpt.state_dict() for name, excerpt in limited.items()}}


def load_preprocessing(state: Mapping[str, Any]) -> Preprocessing | None:
    """Return the preprocessing in a state; None if the data set has none.

    Raises:
        ConfigError: The state has a later version.
    """
    version = state["version"]
    if version > preprocessing.VERSION:
        raise ConfigError(
            f"the stored data has version {version}; this version of train reads 1 to {preprocessing.VERSION}"
        )
    return None if state["fitted"] is None else Preprocessing(state["fitted"], version)


def _get_defaults(kind: type[Dataset]) -> dict[str, Any]:
    """Return the defaults of the options of a data set, some of which may be newer than a saved run."""
    parameters = inspect.signature(kind.__init__).parameters
    return {name: each.default for name, each in parameters.items() if each.default is not each.empty}


def restore_from_state(kind: type[D], state: Mapping[str, Any], options: Mapping[str, Any]) -> D:
    """Restore a data set from a state: its info, its first rows, and the preprocessing that encodes other files.

    Args:
        kind: Class of the data set.
        state: State from ``make_dataset_state``.
        options: Keys of the data set in the configuration.

    Raises:
        ConfigError: The state has a later version, or a row was too large to be saved.
    """
    data = kind.__new__(kind)
    data.options = _get_defaults(kind) | dict(options)
    data.fitted = load_preprocessing(state)
    for name in SPLITS:
        excerpt = state["excerpts"][name]
        if excerpt is None:
            raise ConfigError("a row of this run's data was too large to be saved; the original data is needed")
        setattr(data, name, _load_excerpt(excerpt))
    data.info = data.complete_info(info_from_state(state["dataset_info"]))
    return data
