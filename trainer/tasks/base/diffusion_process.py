"""Noise schedules, prediction targets, samplers and ODE solvers.

``x_t = a x + b e`` with Gaussian noise e, signal scale a and noise scale b. In diffusion ``a^2 + b^2 = 1``, and ``a^2``
is alpha_bar (Ho et al. 2020): step 0 is the data, step T almost pure noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from trainer.models.layers.sequence.step_scan import scan_steps
from trainer.utils.choices import get_choice

MAX_BETA = 0.999
"""Upper bound of betas, which avoids a singularity at the last step (Nichol and Dhariwal 2021)."""


def make_linear_betas(timesteps: int) -> Tensor:
    """Return betas (T,) that increase linearly from 1e-4 to 0.02, times 1000 / T.

    The scaling makes the final noise level independent of the number of timesteps T.

    References:
        Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, section 4.
    """
    # Made from the last step backwards, so that a single timestep gets the largest beta.
    return torch.linspace(0.02, 1e-4, timesteps, dtype=torch.float64).flip(0) * (1000 / timesteps)


def make_cosine_betas(timesteps: int) -> Tensor:
    """Return the betas (T,) of ``alpha_bar_t = f(t) / f(0)`` with ``f(t) = cos^2((t / T + s) / (1 + s) pi / 2)``.

    References:
        Nichol and Dhariwal, Improved Denoising Diffusion Probabilistic Models, ICML 2021, eq. 17.
    """
    s = 0.008
    t = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((t + s) / (1 + s) * math.pi / 2).square()
    return 1 - f[1:] / f[:-1]


BETA_SCHEDULES = {"linear": make_linear_betas, "cosine": make_cosine_betas}


class NoiseSchedule(nn.Module):
    """Signal and noise scales of x_t at the steps t = 0 (the data) to T.

    Args:
        schedule: ``linear`` or ``cosine``.
        timesteps: Number of steps T.

    Attributes:
        signal: ``sqrt(alpha_bar_t)``, (T + 1,).
        noise: ``sqrt(1 - alpha_bar_t)``, (T + 1,).
        alpha_bar: Values in double precision, because samplers divide by small differences.
    """

    signal: Tensor
    noise: Tensor

    def __init__(self, schedule: Literal["linear", "cosine"], timesteps: int):
        super().__init__()
        alpha_bar = (1 - get_choice("schedule", schedule, BETA_SCHEDULES)(timesteps).clamp(max=MAX_BETA)).cumprod(0)
        alpha_bar = torch.cat((torch.ones_like(alpha_bar[:1]), alpha_bar))
        self.alpha_bar: list[float] = alpha_bar.tolist()
        self.register_buffer("signal", alpha_bar.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1 - alpha_bar).sqrt().float(), persistent=False)

    def get_scales(self, timestep: Tensor | int) -> tuple[Tensor, Tensor]:
        """Return the signal and noise scale at a timestep, a number or a scalar tensor."""
        if isinstance(timestep, int):
            return self.signal[timestep], self.noise[timestep]
        index = timestep.view(1)  # an exported program cannot turn a tensor into a number
        return self.signal.index_select(0, index), self.noise.index_select(0, index)


TargetCoefficients = tuple[Tensor | float, Tensor | float]
"""Coefficients of noise and data in a prediction target."""

PREDICTION_COEFFICIENTS: dict[str, Callable[[Tensor, Tensor], TargetCoefficients]] = {
    "eps": lambda *_: (1.0, 0.0),
    "x0": lambda *_: (0.0, 1.0),
    "v": lambda a, b: (a, -b),
    "velocity": lambda *_: (-1.0, 1.0),
}
"""Coefficients (p, q) of the prediction target ``p e + q x`` at scales (a, b).

``eps`` is the noise (Ho et al. 2020), ``x0`` the data, ``v`` the v-prediction of Salimans and Ho 2022, ``velocity`` the
target of flow matching (Lipman et al. 2023).
"""


def compute_target(prediction: str, x: Tensor, noise: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the prediction target (B, ...) for ``x_t = a x + b e``.

    Args:
        prediction: Key of ``PREDICTION_COEFFICIENTS``.
        x: Data (B, ...).
        noise: Noise e (B, ...).
        a: Signal scale, broadcastable to x.
        b: Noise scale, broadcastable to x.
    """
    p, q = PREDICTION_COEFFICIENTS[prediction](a, b)
    return p * noise + q * x


def predict_x0(prediction: str, output: Tensor, x_t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the estimate of x (B, ...) in ``x_t = a x + b e``.

    Args:
        prediction: Key of ``PREDICTION_COEFFICIENTS``.
        output: Model output (B, ...), an estimate of the prediction target.
        x_t: Noisy data (B, ...).
        a: Signal scale, broadcastable to x_t.
        b: Noise scale, broadcastable to x_t.
    """
    p, q = PREDICTION_COEFFICIENTS[prediction](a, b)
    return (p * x_t - b * output) / (p * a - q * b)


class DdimStep(NamedTuple):
    """Step of DDIM: its timestep, the scales of data and noise before and after it, and the scale of new noise."""

    timestep: int
    signal: float
    noise: float
    next_signal: float
    next_noise: float
    new_noise: float


@cache
def list_timesteps(count: int, steps: int) -> tuple[int, ...]:
    """Return ``steps`` + 1 evenly spaced timesteps from ``count`` down to 0; export reads them from the cache.

    Args:
        count: Number of timesteps T.
        steps: Number of steps.
    """
    return tuple(torch.linspace(count, 0, steps + 1).round().long().tolist())


def list_ddim_steps(alpha_bar: list[float], steps: int, eta: float) -> list[DdimStep]:
    """Return the steps of DDIM at evenly spaced timesteps, from noise to data.

    Args:
        alpha_bar: Values of the noise schedule at steps 0 to T.
        steps: Number of steps, at most T.
        eta: Noise of a step: 0 is deterministic given x, 1 has the noise of DDPM.
    """
    ddim_steps = []
    for t, next_t in pairwise(list_timesteps(len(alpha_bar) - 1, steps)):
        alpha_bar_t, alpha_bar_next = alpha_bar[t], alpha_bar[next_t]
        variance = eta**2 * (1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)
        squares = alpha_bar_t, 1 - alpha_bar_t, alpha_bar_next, 1 - alpha_bar_next - variance, variance
        ddim_steps.append(DdimStep(t, *map(math.sqrt, squares)))
    return ddim_steps


def sample_ddim(
    denoise: Callable[[Tensor, Any], Tensor],
    x: Tensor,
    alpha_bar: list[float],
    steps: int,
    eta: float,
    step_noise: Tensor | None = None,
) -> Tensor:
    """Return samples (B, ...) of DDIM, which uses evenly spaced timesteps.

    Args:
        denoise: Function from x_t (B, ...) and t to an estimate of the data (B, ...).
        x: Gaussian noise (B, ...).
        alpha_bar: Values of the noise schedule at steps 0 to T.
        steps: Number of steps, at most T.
        eta: Noise of a step: 0 is deterministic given x, 1 has the noise of DDPM.
        step_noise: Gaussian noise (B, steps, ...) of the steps, if eta is not 0; None draws it.

    References:
        Song et al., Denoising Diffusion Implicit Models, ICLR 2021, eq. 12 and 16.
    """

    def take_step(x: Tensor, t: Any, signal: Any, noise: Any, next_signal: Any, next_noise: Any) -> Tensor:
        x0 = denoise(x, t)
        return next_signal * x0 + next_noise * ((x - signal * x0) / noise)

    ddim_steps = list_ddim_steps(alpha_bar, steps, eta)
    if torch.compiler.is_exporting():
        columns = [torch.tensor(column, device=x.device) for column in zip(*ddim_steps, strict=True)]
        added = columns.pop().view(-1, *[1] * x.dim()) * (0 if step_noise is None else step_noise.transpose(0, 1))
        (x,), _ = scan_steps(
            lambda state, added, *scales: ((take_step(*state, *scales) + added,), ()), (x,), added, *columns
        )
        return x
    for number, (*scales, new_noise) in enumerate(ddim_steps):
        x = take_step(x, *scales)
        if new_noise:
            x = x + new_noise * (torch.randn_like(x) if step_noise is None else step_noise[:, number])
    return x


def sample_ddpm(
    denoise: Callable[[Tensor, Any], Tensor], x: Tensor, alpha_bar: list[float], step_noise: Tensor | None = None
) -> Tensor:
    """Return samples (B, ...) of DDPM, which samples ``q(x_{t-1} | x_t, x_0)`` from t = T to 1.

    It equals DDIM in all T steps with eta 1.

    Args:
        denoise: Function from x_t (B, ...) and t to an estimate of the data (B, ...).
        x: Gaussian noise (B, ...).
        alpha_bar: Values of the noise schedule at steps 0 to T.
        step_noise: Gaussian noise (B, T, ...) of the steps; None draws it.

    References:
        Ho et al., Denoising Diffusion Probabilistic Models, NeurIPS 2020, eq. 6 and 7.
    """
    return sample_ddim(denoise, x, alpha_bar, len(alpha_bar) - 1, 1.0, step_noise)


VelocityField = Callable[[Tensor, Any], Tensor]
"""Function from x (B, ...) and a time to the velocity (B, ...)."""


def euler_step(velocity: VelocityField, x: Tensor, time: Tensor | float, step_size: float) -> Tensor:
    """Return x (B, ...) after one Euler step of ``dx/dt = velocity(x, t)``, of first order.

    Args:
        velocity: Velocity field.
        x: State (B, ...).
        time: Time of x.
        step_size: Time step.
    """
    return x + step_size * velocity(x, time)


def heun_step(velocity: VelocityField, x: Tensor, time: Tensor | float, step_size: float) -> Tensor:
    """Return x (B, ...) after one step of Heun's method, of second order, with the mean of the velocities at both ends.

    Args:
        velocity: Velocity field.
        x: State (B, ...).
        time: Time of x.
        step_size: Time step.
    """
    start_velocity = velocity(x, time)
    return x + step_size / 2 * (start_velocity + velocity(x + step_size * start_velocity, time + step_size))


SOLVERS = {"euler": euler_step, "heun": heun_step}


def integrate_flow(velocity: VelocityField, x: Tensor, solver: str, steps: int) -> Tensor:
    """Return the solution (B, ...) of ``dx/dt = velocity(x, t)`` at time 1.

    Args:
        velocity: Velocity field.
        x: State (B, ...) at time 0.
        solver: Key of ``SOLVERS``.
        steps: Number of equal steps.
    """
    take_step = get_choice("solver", solver, SOLVERS)
    if torch.compiler.is_exporting():
        times = torch.arange(steps, device=x.device) / steps
        (x,), _ = scan_steps(lambda state, time: ((take_step(velocity, state[0], time, 1 / steps),), ()), (x,), times)
        return x
    for step in range(steps):
        x = take_step(velocity, x, step / steps, 1 / steps)
    return x
