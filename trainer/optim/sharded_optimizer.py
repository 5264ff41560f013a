"""An optimizer whose running averages are divided among processes, each of which updates its part of the vector.

References:
    Rajbhandari et al. 2020, ZeRO: Memory Optimizations Toward Training Trillion Parameter Models (stage 1).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor

from trainer.optim.flat_params import FlatParameters, FlatVector
from trainer.optim.flat_slice import FlatSlice, split_evenly
from trainer.optim.optimizers import Optimizer


class TensorExchange(Protocol):
    """Exchange of tensors between processes, as by ``engine.process_group.ProcessGroup``."""

    rank: int
    size: int

    def all_gather(self, values: Tensor) -> Tensor:
        """Return the tensors (...) of all processes in their order (W, ...)."""

    def gather(self, values: Tensor) -> Tensor | None:
        """Return the tensors (...) of all processes (W, ...) in process 0; None in the others."""


class ShardedOptimizer(Optimizer):
    """Optimizer of a group whose vector is divided among processes.

    Each process has the averages of its part. After a step the processes exchange their parts of the parameters. All
    bits are those of the optimizer of the whole vector.

    Args:
        params: Parameters of the group.
        make_optimizer: Makes the optimizer of a part of the vector.
        exchange: Exchange between the processes.
    """

    def __init__(
        self, params: FlatParameters, make_optimizer: Callable[[FlatVector], Optimizer], exchange: TensorExchange
    ):
        self.params: FlatParameters = params
        self._exchange = exchange
        parts = split_evenly(len(params.data), exchange.size)
        self._part, self._part_size = parts[exchange.rank], parts[0].stop
        self._optimizer = make_optimizer(FlatSlice(params, self._part))
        assert self._optimizer.is_elementwise, "an update that depends on the whole vector"
        self.lr, self.has_momentum = self._optimizer.lr, self._optimizer.has_momentum
        self.steps, self.averages = self._optimizer.steps, self._optimizer.averages

    def step(self, lr: float, momentum: float | None = None, found_inf: Tensor | None = None) -> Tensor | None:
        found_inf = self.merge_found_inf(found_inf)
        if self._part.start < self._part.stop:
            self._optimizer.step(lr, momentum, found_inf)
        else:  # more processes than aligned parts
            self.steps += 1 if found_inf is None else 1 - found_inf
        parts = self._exchange.all_gather(self._pad(self.params.data[self._part]))
        self.params.data.copy_(parts.view(-1)[: len(self.params.data)])
        return found_inf

    def _pad(self, values: Tensor) -> Tensor:
        """Return a part with the length of all others."""
        return torch.nn.functional.pad(values, (0, self._part_size - len(values)))

    def state_dict(self) -> dict[str, Any]:
        """Return the whole state in process 0, and one without averages in the others; all must call it together."""
        gathered = {name: self._exchange.gather(self._pad(average)) for name, average in self.averages.items()}
        length = len(self.params.data)
        return {
            "steps": self.steps,
            "averages": {
                name: self.params.gather_by_name(parts.view(-1)[:length])
                for name, parts in gathered.items()
                if parts is not None
            },
        }

    def example_state_dict(self, *, has_stepped: bool) -> dict[str, Any]:
        averages = {name: torch.zeros_like(self.params.data) for name in self.averages}
        return {
            "steps": self.steps,
            "averages": {name: self.params.gather_by_name(average) for name, average in averages.items()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.steps.copy_(state["steps"])
        whole = torch.zeros_like(self.params.data)
        for name, average in self.averages.items():
            self.params.load_by_name(whole, state["averages"][name])
            average.copy_(whole[self._part])
