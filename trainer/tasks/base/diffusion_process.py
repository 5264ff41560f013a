"""Noise schedules, prediction targets, samplers and ODE solvers as pure functions of a denoiser.

``x_t = a x + b e`` with Gaussian e, signal scale a and noise scale b. In diffusion ``a^2 + b^2 = 1``, and ``a^2`` is
alpha_bar (Ho et al. 2020): step 0 is the data, step T almost pure noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

MAX_BETA = 0.999
"""Upper bound of betas, which avoids singularities at the last step (Nichol and Dhariwal 2021)."""


def make_linear_betas(timesteps: int) -> Tensor:
    """Return linear betas from 1e-4 to 0.02, scaled by ``1000 / timesteps`` so that any schedule ends equally noisy.

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models
    """
    # Built from the last step backwards, so that a single timestep gets the largest beta.
    return torch.linspace(0.02, 1e-4, timesteps, dtype=torch.float64).flip(0) * (1000 / timesteps)


def make_cosine_betas(timesteps: int) -> Tensor:
    """Return the cosine schedule ``alpha_bar = f(t) / f(0)``, ``f = cos^2((t / T + s) / (1 + s) pi / 2)``.

    References:
        Nichol and Dhariwal 2021, Improved Denoising Diffusion Probabilistic Models, eq. 17
    """
    s = 0.008
    t = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((t + s) / (1 + s) * math.pi / 2).square()
    return 1 - f[1:] / f[:-1]


BETA_SCHEDULES = {"linear": make_linear_betas, "cosine": make_cosine_betas}


class NoiseSchedule(nn.Module):
    """Signal and noise scales of x_t at the steps 0 (the data) to T.

    ``alpha_bar`` holds the squares of ``signal`` in double precision, because samplers divide by small differences.
    """

    signal: Tensor
    noise: Tensor

    def __init__(self, schedule: Literal["linear", "cosine"], timesteps: int):
        super().__init__()
        alpha_bar = (1 - BETA_SCHEDULES[schedule](timesteps).clamp(max=MAX_BETA)).cumprod(0)
        alpha_bar = torch.cat((torch.ones_like(alpha_bar[:1]), alpha_bar))
        self.alpha_bar: list[float] = alpha_bar.tolist()
        self.register_buffer("signal", alpha_bar.sqrt().float(), persistent=False)
        self.register_buffer("noise", (1 - alpha_bar).sqrt().float(), persistent=False)


TargetCoefficients = tuple[Tensor | float, Tensor | float]

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
    """Return the prediction target for ``a x + b e``."""
    p, q = PREDICTION_COEFFICIENTS[prediction](a, b)
    return p * noise + q * x


def predict_x0(prediction: str, output: Tensor, x_t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Return the estimate of x in ``x_t = a x + b e`` from the model output."""
    p, q = PREDICTION_COEFFICIENTS[prediction](a, b)
    return (p * x_t - b * output) / (p * a - q * b)


def sample_ddim(
    denoise: Callable[[Tensor, int], Tensor], x: Tensor, alpha_bar: list[float], steps: int, eta: float
) -> Tensor:
    """Sample with DDIM from noise x (B, ...) in ``steps`` evenly spaced timesteps, at most T.

    Args:
        denoise: estimates the data from x_t and t.
        eta: 0 is deterministic given x, 1 adds as much fresh noise as ``sample_ddpm``.

    References:
        Song et al. 2021, Denoising Diffusion Implicit Models, eq. 12 and 16
    """
    timesteps = torch.linspace(len(alpha_bar) - 1, 0, steps + 1).round().long().tolist()
    for t, next_t in pairwise(timesteps):
        alpha_bar_t, alpha_bar_next = alpha_bar[t], alpha_bar[next_t]
        x0 = denoise(x, t)
        noise = (x - math.sqrt(alpha_bar_t) * x0) / math.sqrt(1 - alpha_bar_t)
        variance = eta**2 * (1 - alpha_bar_next) / (1 - alpha_bar_t) * (1 - alpha_bar_t / alpha_bar_next)
        x = math.sqrt(alpha_bar_next) * x0 + math.sqrt(1 - alpha_bar_next - variance) * noise
        if variance:
            x = x + math.sqrt(variance) * torch.randn_like(x)
    return x


def sample_ddpm(denoise: Callable[[Tensor, int], Tensor], x: Tensor, alpha_bar: list[float]) -> Tensor:
    """Sample with DDPM from noise x (B, ...), step by step from ``q(x_{t-1} | x_t, x_0)``.

    References:
        Ho et al. 2020, Denoising Diffusion Probabilistic Models, eq. 7
    """
    return sample_ddim(denoise, x, alpha_bar, len(alpha_bar) - 1, eta=1.0)


VelocityField = Callable[[Tensor, float], Tensor]
"""Velocity (B, ...) at x (B, ...) and a time."""


def euler_step(velocity: VelocityField, x: Tensor, time: float, step_size: float) -> Tensor:
    """Take one Euler step of ``dx/dt = velocity(x, t)``, of first order."""
    return x + step_size * velocity(x, time)


def heun_step(velocity: VelocityField, x: Tensor, time: float, step_size: float) -> Tensor:
    """Take one Heun step with the mean of the velocities at both ends, of second order (Heun 1900)."""
    start_velocity = velocity(x, time)
    return x + step_size / 2 * (start_velocity + velocity(x + step_size * start_velocity, time + step_size))


SOLVERS = {"euler": euler_step, "heun": heun_step}


def integrate_flow(velocity: VelocityField, x: Tensor, solver: str, steps: int) -> Tensor:
    """Integrate x (B, ...) from time 0 to 1."""
    for step in range(steps):
        x = SOLVERS[solver](velocity, x, step / steps, 1 / steps)
    return x
