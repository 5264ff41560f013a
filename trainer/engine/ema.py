"""Exponential moving average (EMA) of the parameters of a group."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from trainer.engine.parameter_average import ParameterAverage
from trainer.optim.flat_params import FlatParameters


class EMA(ParameterAverage):
    """Exponential moving average of parameters.

    The decay after update ``n`` is ``min(decay, (1 + n) / (10 + n))``: with the full decay from the start, the random
    initialization would dominate the average for a long time.

    Args:
        params: The parameters to average; the average starts as a copy of them.
        decay: Weight of the previous average in each update, in [0, 1).
    """

    def __init__(self, params: FlatParameters, decay: float):
        super().__init__(params)
        self.decay = decay

    def update(self, num_updates: int, lr: float, found_inf: Tensor | None = None) -> None:
        weight = 1 - min(self.decay, (1 + num_updates) / (10 + num_updates))
        # The host does not know whether a device has skipped the update: it must not wait for it.
        self.average.lerp_(self.params.data, weight if found_inf is None else (1 - found_inf.to(self.average)) * weight)

    def state_dict(self) -> dict[str, Tensor]:
        return self.params.gather_by_name(self.average)

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.params.load_by_name(self.average, state)
