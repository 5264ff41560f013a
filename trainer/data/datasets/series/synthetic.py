"""Synthetic time series with a known Bayes-optimal forecast."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.encoding.forecast_dataset import HorizonDataset
from trainer.data.splits import windows
from trainer.data.splits.splitting import split_by_order


class SineTrend(HorizonDataset):
    """Sine with a linear trend and Gaussian noise.

    ``y_t = a sin(2 pi t / period) + b cos(2 pi t / period) + s t + c + noise`` with a, b, s and c drawn per row from
    normal distributions. The series is linear in these coefficients, so the optimal forecast is a ridge regression with
    a closed-form error, see ``forecast_variance``.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        history: Input length T in steps.
        horizon: Forecast horizon P in steps.
        period: Period of the sine in steps.
        amplitude: Standard deviation of a and b.
        slope: Standard deviation of s.
        level: Standard deviation of c.
        noise: Standard deviation of the noise.
        seed: Random seed of the data.
    """

    shapes = "x (B, T, F) -> (B, P, F)"

    def __init__(
        self,
        rows: PositiveInt = 5000,
        history: PositiveInt = 48,
        horizon: PositiveInt = 12,
        period: PositiveFloat = 24.0,
        amplitude: NonNegativeFloat = 0.736,
        slope: NonNegativeFloat = 0.02,
        level: NonNegativeFloat = 1.0,
        noise: PositiveFloat = 0.1,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        components = trend_components(history + horizon, period)
        spread = torch.tensor([amplitude, amplitude, slope, level])
        clean = torch.randn(rows, len(spread), generator=random) * spread @ components.float().T
        series = (clean + noise * torch.randn(clean.shape, generator=random))[..., None]  # (rows, T + P, 1)
        self.train, self.val, test = split_by_order({"x": series[:, :history]}, series[:, history:])
        self.test = test
        variance = forecast_variance(components, spread.double(), noise, history)
        mse = float(variance.mean())
        self.info = DatasetInfo(
            sizes={"in_features": 1, "seq_len": history, "horizon": horizon, "flat_features": history},
            baseline=windows.seasonal_naive_scores(test, 1),
            # The mean absolute deviation of a normal variable is sqrt(2 / pi) times its standard deviation.
            best_possible={"mse": mse, "rmse": mse**0.5, "mae": float((variance * 2 / math.pi).sqrt().mean())},
        )


def trend_components(steps: int, period: float) -> Tensor:
    """Return sine, cosine, linear trend and constant over time, (steps, 4) float64.

    Args:
        steps: Number of steps.
        period: Period of sine and cosine in steps.
    """
    time = torch.arange(steps, dtype=torch.float64)
    phase = 2 * math.pi * time / period
    return torch.stack((phase.sin(), phase.cos(), time, torch.ones_like(time)), dim=1)


def forecast_variance(components: Tensor, spread: Tensor, noise: float, history: int) -> Tensor:
    """Compute the expected squared error of the Bayes forecast at each step of the horizon, (P,).

    ``noise^2 + f_t' (F'F / noise^2 + diag(1 / spread^2))^-1 f_t`` for the history F and a later step f_t: the noise
    variance plus the posterior variance of the prediction in a linear-Gaussian model.

    Args:
        components: Components over history and horizon, (T + P, 4).
        spread: Prior standard deviation of each coefficient, (4,).
        noise: Standard deviation of the noise.
        history: Number of steps T before the forecast.
    """
    past, future = components[:history] * spread, components[history:] * spread
    posterior = torch.linalg.inv(past.T @ past / noise**2 + torch.eye(len(spread), dtype=past.dtype))
    return noise**2 + ((future @ posterior) * future).sum(1)
