"""A data set as plain values in a checkpoint, and back: enough to use a run without the files it was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from trainer.core import preprocessing
from trainer.core.batch import Batch
from trainer.core.dataset import Dataset, Split
from trainer.core.preprocessing import SPLITS, Preprocessing
from trainer.engine.dataset_info_state import info_from_state, info_state
from trainer.utils.errors import ConfigError

EXCERPT_ROWS = {"train": 1000, "val": 8, "test": 8}
"""The first rows of each split that are kept, at most: those beside which samples are drawn, and examples."""
EXCERPT_BYTES = 1 << 18
"""Their size at most, unless one row has more."""
MAX_ROW_BYTES = 1 << 28
"""A larger row, a graph of many million edges, is not kept."""
D = TypeVar("D", bound=Dataset)


class SplitExcerpt(Split):
    """The first rows of a split as a model is given them; rows that cannot be taken apart, such as a graph, whole."""

    def __init__(self, rows: Batch, *, is_divisible: bool):
        self.full_batch = rows
        self.is_divisible = is_divisible

    def __len__(self) -> int:
        return len(self.full_batch)

    def has_row(self, row: int) -> bool:
        """Whether a row of the whole split is among these."""
        return self.is_divisible and row < len(self)

    def get_targets(self) -> Tensor | None:
        return self.full_batch.target

    def batch(self, index: Tensor, epoch: int) -> Batch:
        if not self.is_divisible:
            return self.full_batch
        inputs = {name: value[index] for name, value in self.full_batch.inputs.items()}
        return Batch(inputs, None if self.full_batch.target is None else self.full_batch.target[index], index)

    def state_dict(self) -> dict[str, Any]:
        parts = {
            "target": self.full_batch.target,
            "index": self.full_batch.index,
            "asked": self.full_batch.output_index,
        }
        return {"inputs": self.full_batch.inputs, **parts, "is_divisible": self.is_divisible}


def make_excerpt(split: Split, rows: int) -> SplitExcerpt | None:
    """The first ``rows`` of a split on the CPU, if there is room for so many; None where even one is too large."""
    first = _load_first_rows(split, 1)
    size = max(1, sum(value.nbytes for value in first.inputs.values()))
    if size > MAX_ROW_BYTES:
        return None
    count = min(len(split), rows, max(1, EXCERPT_BYTES // size))
    if count > 1:
        several = _load_first_rows(split, count)
        tensors = [*several.inputs.values(), *([] if several.target is None else [several.target])]
        if several.output_index is None and all(value.dim() and len(value) == count for value in tensors):
            return SplitExcerpt(_copy_batch(several), is_divisible=True)
    return SplitExcerpt(_copy_batch(first), is_divisible=False)


def _load_first_rows(split: Split, count: int) -> Batch:
    return split.to_model_inputs(split.batch(torch.arange(count), 0))


def _copy_batch(batch: Batch) -> Batch:
    """Without the memory that views share with a whole split."""

    def own(value: Tensor | None) -> Tensor | None:
        return None if value is None else value.detach().cpu().clone()

    inputs = {name: value.detach().cpu().clone() for name, value in batch.inputs.items()}
    return replace(
        batch, inputs=inputs, target=own(batch.target), index=batch.index.cpu(), output_index=own(batch.output_index)
    )


def make_dataset_state(data: Dataset) -> dict[str, Any]:
    """What a run must keep of its data: what was learned, the plain facts, and the first rows of each split."""
    excerpts = {name: make_excerpt(getattr(data, name), EXCERPT_ROWS[name]) for name in SPLITS}
    return {
        "version": preprocessing.VERSION if data.fitted is None else data.fitted.version,
        "fitted": None if data.fitted is None else data.fitted.values,
        "facts": info_state(data.info),
        "excerpts": {name: None if found is None else found.state_dict() for name, found in excerpts.items()},
    }


def load_preprocessing(state: Mapping[str, Any]) -> Preprocessing | None:
    """What was learned, of such a state. Raises ConfigError for one of a later version."""
    version = state["version"]
    if version > preprocessing.VERSION:
        raise ConfigError(
            f"the stored data has version {version}; this version of train reads 1 to {preprocessing.VERSION}"
        )
    return None if state["fitted"] is None else Preprocessing(state["fitted"], version)


def restore_from_state(kind: type[D], state: Mapping[str, Any], options: Mapping[str, Any]) -> D:
    """A data set of a class from such a state: its facts, its first rows, and how it reads other files.

    options: the keys of the data set in the configuration, which holds what no checkpoint does.

    Raises ConfigError for a state of a later version, and where a row was too large to keep.
    """
    data = kind.__new__(kind)
    data.options = options
    data.fitted = load_preprocessing(state)
    for name in SPLITS:
        found = state["excerpts"][name]
        if found is None:
            raise ConfigError("a row of this run's data is too large to be kept with it; give its data as it was")
        batch = Batch(found["inputs"], found["target"], found["index"], found["asked"])
        setattr(data, name, SplitExcerpt(batch, is_divisible=found["is_divisible"]))
    data.info = data.complete_info(info_from_state(state["facts"]))
    return data
