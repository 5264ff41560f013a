"""Average of the parameters of a group, which is evaluated in their place."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainer.optim.flat_params import FlatParameters


class ParameterAverage(ABC):
    """Base class of averages of parameters.

    Args:
        params: The parameters to average; the average starts as a copy of them.
    """

    def __init__(self, params: FlatParameters):
        self.params = params
        self.average = params.data.clone()

    @abstractmethod
    def update(self, num_updates: int, lr: float, found_inf: Tensor | None = None) -> None:
        """Move the average after an update of the parameters by the optimizer.

        Args:
            num_updates: Updates so far, this one and skipped ones included.
            lr: Learning rate of the update.
            found_inf: Scalar on the device, 1 if the update was skipped, which keeps the average; None if it was not.
        """

    def swap(self) -> None:
        """Exchange the parameters with their average."""
        self.params.rebind()
        params = self.params.data.clone()
        self.params.data.copy_(self.average)
        self.average.copy_(params)
        self.params.write_back()

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Return vectors by parameter name."""

    @abstractmethod
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copy a saved state."""
