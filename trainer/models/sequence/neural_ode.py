"""Neural ordinary differential equations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from trainer.core.types import PositiveFloat, PositiveInt
from trainer.models.layers.sequence.step_scan import State, scan_steps

VectorField = Callable[[Tensor], Tensor]
"""Derivative (B, F) at states (B, F)."""


class NeuralODE(nn.Module):
    """Neural ODE ``dy/dt = f(y)``, ``y(0) = x`` with an MLP f, evaluated at ascending times per sample.

    The times are arbitrary in number and position, so trajectories can be evaluated at times never trained on.
    Gradients are backpropagated through the solver steps.

    Args:
        in_features: number of input features F.
        hidden: hidden layer sizes of the ODE function.
        solver: ``rk4`` (classical Runge-Kutta) or ``dopri5`` (adaptive Dormand-Prince).
        steps_per_interval: equal steps of ``rk4`` between consecutive times.
        tolerance: relative and absolute error tolerance of ``dopri5``.

    Raises:
        ValueError: ``dopri5`` without the package torchdiffeq, or in an export.

    References:
        Chen et al. 2018, Neural Ordinary Differential Equations.
        Kutta 1901.
        Dormand and Prince 1980, A Family of Embedded Runge-Kutta Formulae.
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
            layers += [nn.Linear(width_in, width_out), nn.Tanh()]  # smooth, as the error bounds of the solvers require
        self.field = nn.Sequential(*layers, nn.Linear((in_features, *hidden)[-1], in_features))
        solvers = {
            "rk4": partial(solve_rk4, steps=steps_per_interval),
            "dopri5": partial(solve_dopri5, tolerance=tolerance),
        }
        self.solve_interval = solvers[solver]
        self.is_adaptive = solver == "dopri5"

    def forward(self, x: Tensor, times: Tensor) -> Tensor:
        if self.is_adaptive and torch.compiler.is_exporting():
            raise ValueError("solver: dopri5 takes as many steps as the data requires and cannot be exported; rk4 can")
        intervals = times.diff(dim=1, prepend=torch.zeros_like(times[:, :1]))
        _, (states,) = scan_steps(self._advance, (x,), intervals[..., None], dim=1)
        return states

    def _advance(self, state: State, gap: Tensor) -> tuple[State, State]:
        state = (self.solve_interval(self.field, *state, gap),)
        return state, state


def solve_rk4(field: VectorField, y: Tensor, gap: Tensor, steps: int) -> Tensor:
    """Integrate over ``gap`` (B, 1) by the classical fourth-order Runge-Kutta method, with error O(steps ** -4).

    Args:
        field: derivative of the state.
        y: initial states (B, F).
        gap: length of the interval of each sample (B, 1).
        steps: number of equal steps.
    """
    h = gap / steps
    for _ in range(steps):
        a = field(y)
        b = field(y + h / 2 * a)
        c = field(y + h / 2 * b)
        d = field(y + h * c)
        y = y + h / 6 * (a + 2 * b + 2 * c + d)
    return y


def solve_dopri5(field: VectorField, y: Tensor, gap: Tensor, tolerance: float) -> Tensor:
    """Integrate over ``gap`` (B, 1) by Dormand-Prince, to a relative and absolute error of ``tolerance``.

    Args:
        field: derivative of the state.
        y: initial states (B, F).
        gap: length of the interval of each sample (B, 1).
        tolerance: relative and absolute error tolerance.
    """
    from torchdiffeq import odeint

    # Time is rescaled by each sample's interval, so that all samples share the interval [0, 1].
    bounds = torch.tensor([0.0, 1.0], device=y.device)
    return odeint(lambda _, state: gap * field(state), y, bounds, rtol=tolerance, atol=tolerance, method="dopri5")[-1]
