"""Average of the weights of schedule-free learning.

References:
    Defazio et al., "The Road Less Scheduled", NeurIPS 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from trainer.engine.parameter_average import ParameterAverage
from trainer.optim.flat_params import FlatParameters


class ScheduleFreeAverage(ParameterAverage):
    """Iterates of schedule-free learning, in the place of an EMA.

    The parameters are ``y = (1 - beta) z + beta x``, where gradients are computed. The update of the optimizer at ``y``
    is applied to ``z``, and ``x`` is the mean of all ``z``, weighted by the squares of their learning rates, so that
    the steps of a warm-up count less. All three start from the initial weights. ``x`` is evaluated. The bias correction
    of Adam is part of its update, and not of the learning rate in these weights as in algorithm 1 of the paper.
    Running statistics of batch norm are those at ``y``.

    Args:
        params: The parameters.
        beta: Weight of ``x`` in ``y``.
    """

    def __init__(self, params: FlatParameters, beta: float):
        super().__init__(params)
        self.beta = beta
        self.base = params.data.clone()
        self.weight_sum = torch.zeros((), device=params.data.device)

    def update(self, num_updates: int, lr: float, found_inf: Tensor | None = None) -> None:
        before = torch.lerp(self.base, self.average, self.beta)
        self.base.add_(self.params.data - before)
        weight = torch.full_like(self.weight_sum, lr**2)
        if found_inf is not None:
            weight *= 1 - found_inf.to(weight)
        self.weight_sum += weight
        self.average.lerp_(self.base, (weight / self.weight_sum.clamp_min(1e-38)).to(self.average.dtype))
        torch.lerp(self.base, self.average, self.beta, out=self.params.data)
        self.params.write_back()

    def state_dict(self) -> dict[str, Any]:
        return {
            "base": self.params.gather_by_name(self.base),
            "average": self.params.gather_by_name(self.average),
            "weight_sum": self.weight_sum,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.params.load_by_name(self.base, state["base"])
        self.params.load_by_name(self.average, state["average"])
        self.weight_sum.copy_(state["weight_sum"])
