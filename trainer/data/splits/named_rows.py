"""Rows in memory that have names, such as their numbers in a file or an identifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor

from trainer.core.split import TensorSplit


class NamedRows(TensorSplit):
    """Rows held as tensors, with a name for each.

    Args:
        inputs: ``{"x": (N, ...), ...}``.
        target: Targets (N, ...), or None.
        title: Title of the names.
        names: Name of each row (N).
    """

    def __init__(self, inputs: Mapping[str, Tensor], target: Tensor | None, title: str, names: Sequence[object]):
        super().__init__(inputs, target)
        self._title, self._names = title, names

    def get_row_names(self, first: int) -> tuple[str, Sequence[object]]:
        return self._title, self._names
