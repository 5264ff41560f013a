"""Noise that is laid over data by degrees, and how it is taken off again: pure functions of a denoiser.

``x_t = a x + b e`` with e normal, a and b the shares of signal and of noise, ``a^2 + b^2 = 1`` and ``a^2`` called
alpha_bar (Ho et al. 2020): step 0 is the data, step T almost nothing but noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

MAX_BETA = 0.999
"""A step leaves something of what was there before (Nichol and Dhariwal 2021)."""


def make_linear_betas(timesteps: int) -> Tensor:
    """Ho et al. 2020: betas from 1e-4 to 0.02 over 1000 steps; over T, ``1000 / T`` times as large, to end as noisy."""
    # From the last step back: a single one is then the one that leaves nothing but noise.
    return torch.linspace(0.02, 1e-4, timesteps, dtype=torch.float64).flip(0) * (1000 / timesteps)


def make_cosine_betas(timesteps: int) -> Tensor:
    """Nichol and Dhariwal 2021, eq. 17: ``alpha_bar = f(t) / f(0)``, ``f = cos^2((t / T + s) / (1 + s) pi / 2)``."""
    s = 0.008
    place = torch.arange(timesteps + 1, dtype=torch.float64) / timesteps
    f = torch.cos((place + s) / (1 + s) * math.pi / 2).square()
    return 1 - f[1:] / f[:-1]


BETA_SCHEDULES = {"linear": make_linear_betas, "cosine": make_cosine_betas}


class NoiseSchedule(nn.Module):
    """How much of x_t is signal and how much is noise, at the steps 0 (the data) to T.

    ``alpha_bar`` has the squares of ``signal`` in double precision, for samplers: they divide by small differences.
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
"""What a denoiser is asked for at (a, b): ``p e + q x``, given as (p, q). The noise (Ho et al. 2020), the data, what
turns the one into the other (Salimans and Ho 2022), or the way from the one to the other (Lipman et al. 2023)."""


def compute_target(prediction: str, x: Tensor, e: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """What a denoiser should say of ``a x + b e``."""
    p, q = PREDICTION_COEFFICIENTS[prediction](a, b)
    return p * e + q * x


def predict_x0(prediction: str, said: Tensor, x_t: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """The x of ``x_t = a x + b e`` after what was said of it."""
    p, q = PREDICTION_COEFFICIENTS[prediction](a, b)
    return (p * x_t - b * said) / (p * a - q * b)


def sample_ddim(
    denoise: Callable[[Tensor, int], Tensor], x: Tensor, alpha_bar: list[float], steps: int, eta: float
) -> Tensor:
    """What noise x (B, ...) becomes in so many even steps, at most T (Song et al. 2021, eq. 12 and 16).

    denoise: the data as it is guessed to be from x_t and t. eta: 0 takes the noise that was there back in at every
    step, so that the result is a function of the noise at the start; 1 takes as much fresh noise as ``sample_ddpm``.
    """
    places = torch.linspace(len(alpha_bar) - 1, 0, steps + 1).round().long().tolist()
    for now, then in pairwise(places):
        signal, left = alpha_bar[now], alpha_bar[then]
        guess = denoise(x, now)
        noise = (x - math.sqrt(signal) * guess) / math.sqrt(1 - signal)
        fresh = eta**2 * (1 - left) / (1 - signal) * (1 - signal / left)
        x = math.sqrt(left) * guess + math.sqrt(1 - left - fresh) * noise
        if fresh:
            x = x + math.sqrt(fresh) * torch.randn_like(x)
    return x


def sample_ddpm(denoise: Callable[[Tensor, int], Tensor], x: Tensor, alpha_bar: list[float]) -> Tensor:
    """What noise x (B, ...) becomes step by step, each drawn from ``q(x_{t-1} | x_t, x_0)`` (Ho et al. 2020, eq. 7)."""
    return sample_ddim(denoise, x, alpha_bar, len(alpha_bar) - 1, eta=1.0)


VelocityField = Callable[[Tensor, float], Tensor]
"""The velocity (B, ...) at x (B, ...) and a time."""


def euler_step(velocity: VelocityField, x: Tensor, time: float, step: float) -> Tensor:
    """One step of ``dx/dt = velocity(x, t)``, along the velocity at its start; errors fall as the step."""
    return x + step * velocity(x, time)


def heun_step(velocity: VelocityField, x: Tensor, time: float, step: float) -> Tensor:
    """One step along the mean of the velocities at both its ends (Heun 1900); errors fall as the step squared."""
    first = velocity(x, time)
    return x + step / 2 * (first + velocity(x + step * first, time + step))


SOLVERS = {"euler": euler_step, "heun": heun_step}


def integrate_flow(velocity: VelocityField, x: Tensor, solver: str, steps: int) -> Tensor:
    """Where x (B, ...) is carried from time 0 to 1."""
    for step in range(steps):
        x = SOLVERS[solver](velocity, x, step / steps, 1 / steps)
    return x
