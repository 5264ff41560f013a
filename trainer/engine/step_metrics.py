"""Metrics of the last optimizer step, computed when they are read."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from trainer.engine.param_group import ParamGroup

WINDOW = 50
"""Steps over which throughput is averaged: kernels on an accelerator end long after they are launched."""


class StepMetrics(Mapping[str, float]):
    """``loss``, ``grad_norm``, ``lr`` and ``rows_per_second`` of the last step, valid during ``on_step_end``.

    Reading a value synchronizes with the accelerator; values that are not read cost nothing. ``grad_norm`` is measured
    before clipping. With several parameter groups, ``loss`` and ``grad_norm`` are means over the groups that this step
    updated and ``lr`` belongs to the first of them, all NaN if it updated none; ``loss_NAME``, ``grad_norm_NAME`` and
    ``lr_NAME`` are the values of each updated group.

    Args:
        param_groups: Parameter groups of the trainer, by name.
    """

    def __init__(self, param_groups: Mapping[str, ParamGroup]):
        self._param_groups = param_groups
        self._updates: dict[str, tuple[Tensor, Tensor]] = {}
        self._window: deque[tuple[float, int]] = deque([(0.0, 0)], maxlen=WINDOW + 1)
        self._started_at = 0.0

    def start_timer(self) -> None:
        """Exclude the time since the last step, such as a validation, from the throughput."""
        self._started_at = time.monotonic()

    def clear_updates(self) -> None:
        """Forget the updates of the last step."""
        self._updates.clear()

    def record_update(self, name: str, loss: Tensor, grad_norm: Tensor) -> None:
        """Record the update of a parameter group, without reading the tensors.

        Args:
            name: Name of the group.
            loss: Its loss, a scalar.
            grad_norm: Norm of its gradient before clipping, a scalar.
        """
        self._updates[name] = (loss, grad_norm)

    def record_rows(self, rows: int) -> None:
        """Record the end of a step and the number of its rows."""
        now = time.monotonic()
        seconds, total = self._window[-1]
        self._window.append((seconds + now - self._started_at, total + rows))
        self._started_at = now

    def __getitem__(self, key: str) -> float:
        if key == "rows_per_second":
            (start, start_rows), (end, end_rows) = self._window[0], self._window[-1]
            return (end_rows - start_rows) / max(end - start, 1e-9)
        if key in ("loss", "grad_norm", "lr") and not self._updates:
            return math.nan
        if key == "lr":
            return self._param_groups[next(iter(self._updates))].lr
        if key in ("loss", "grad_norm"):
            values = [pair[key == "grad_norm"].item() for pair in self._updates.values()]
            return sum(values) / len(values)
        kind, name = next(((kind, name) for kind, name in self._group_keys() if f"{kind}_{name}" == key), ("", ""))
        if not name:
            raise KeyError(key)
        return self._param_groups[name].lr if kind == "lr" else self._updates[name][kind == "grad_norm"].item()

    def __iter__(self) -> Iterator[str]:
        yield from ("loss", "grad_norm", "lr", "rows_per_second")
        yield from (f"{kind}_{name}" for kind, name in self._group_keys())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _group_keys(self) -> list[tuple[str, str]]:
        if len(self._param_groups) == 1:
            return []
        return [(kind, name) for kind in ("loss", "grad_norm", "lr") for name in self._updates]
