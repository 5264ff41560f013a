"""A network as a differential equation: what is learned is how fast a state changes, at every place."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt

VectorField = Callable[[Tensor], Tensor]
"""The rate of change (B, F) at states (B, F)."""


class NeuralODE(nn.Module):
    """Chen et al. 2018. ``dy/dt = f(y)``, ``y(0) = x``, with f a perceptron: y at each of a row's own ascending times,
    as many as asked for. Nothing depends on where the times lie, so a trajectory may be asked for at times never
    trained on. Gradients go back through the solver's steps. ``solve_rk4`` (Kutta 1901) takes ``steps_per_interval``
    equal steps from one time to the next; ``solve_dopri5`` (Dormand and Prince 1980) as many as keep its error under
    ``tolerance``.

    Raises ValueError for ``solve_dopri5`` without the package that has it.
    """

    shapes = "x (B, F), times (B, P) -> (B, P, F)"

    def __init__(
        self,
        in_features: PositiveInt,
        hidden: Sequence[PositiveInt] = (64, 64),
        solver: Literal["rk4", "dopri5"] = "rk4",
        steps_per_interval: PositiveInt = 2,
        tolerance: PositiveFloat = 1e-05,
    ):
        super().__init__()
        if solver == "dopri5" and find_spec("torchdiffeq") is None:
            raise ValueError("solver: dopri5 needs torchdiffeq: pip install 'train-zoo[ode]'; rk4 needs nothing")
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise((in_features, *hidden)):
            layers += [nn.Linear(width_in, width_out), nn.Tanh()]  # smooth, as the solvers' error bounds want it
        self.field = nn.Sequential(*layers, nn.Linear((in_features, *hidden)[-1], in_features))
        solvers = {
            "rk4": partial(solve_rk4, steps=steps_per_interval),
            "dopri5": partial(solve_dopri5, tolerance=tolerance),
        }
        self.solve_interval = solvers[solver]

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        gaps = times.diff(dim=1, prepend=torch.zeros_like(times[:, :1]))
        states = []
        for gap in gaps.unbind(1):
            x = self.solve_interval(self.field, x, gap[:, None])
            states.append(x)
        return torch.stack(states, 1)


def solve_rk4(field: VectorField, y: Tensor, gap: Tensor, steps: int) -> Tensor:
    """The states ``gap`` (B, 1) later, by the classical fourth-order rule; the error falls as ``steps ** -4``."""
    h = gap / steps
    for _ in range(steps):
        a = field(y)
        b = field(y + h / 2 * a)
        c = field(y + h / 2 * b)
        d = field(y + h * c)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return y


def solve_dopri5(field: VectorField, y: Tensor, gap: Tensor, tolerance: float) -> Tensor:
    """The states ``gap`` (B, 1) later, to a relative and absolute error of ``tolerance``."""
    from torchdiffeq import odeint

    # In time counted by each row's own gap all rows end at 1 together.
    ends = torch.tensor([0.0, 1.0], device=y.device)
    return odeint(lambda _, state: gap * field(state), y, ends, rtol=tolerance, atol=tolerance, method="dopri5")[-1]
