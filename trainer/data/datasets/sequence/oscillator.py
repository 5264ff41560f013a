"""Irregularly sampled trajectories of a known ordinary differential equation."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset_info import DatasetInfo
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.encoding.forecast_dataset import HorizonDataset
from trainer.data.reference import baselines
from trainer.data.splits.splitting import split_by_order
from trainer.utils.errors import DataError


class DampedOscillator(HorizonDataset):
    """Damped harmonic oscillator, observed at irregular times.

    ``s'' + 2 damping s' + frequency^2 s = 0`` with a standard normal initial state. The target is the state (s, s') at
    ``horizon`` times per row, uniform in [0, duration) and ascending.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        horizon: Number of observation times P per row.
        duration: Upper end of the observation times.
        frequency: Undamped angular frequency, in radians per unit of time.
        damping: Damping rate per unit of time, less than ``frequency``.
        seed: Random seed of the data.

    Raises:
        DataError: The oscillator is not underdamped (``damping >= frequency``).
    """

    shapes = "x (B, F), times (B, P) -> (B, P, F)"

    def __init__(
        self,
        rows: PositiveInt = 1000,
        horizon: PositiveInt = 10,
        duration: PositiveFloat = 3.0,
        frequency: PositiveFloat = 2.0,
        damping: NonNegativeFloat = 0.2,
        seed: NonNegativeInt = 0,
    ):
        if damping >= frequency:
            raise DataError(f"damping: {damping:g} must be less than data.frequency, {frequency:g}")
        random = rng.make_generator(seed)
        start = torch.randn(rows, 2, generator=random)
        times = duration * torch.rand(rows, horizon, generator=random).sort(1).values
        y = exact_trajectory(start, times, frequency, damping)
        self.train, self.val, self.test = split_by_order({"x": start, "times": times}, y)
        self.info = DatasetInfo(
            sizes={"in_features": 2, "flat_features": 2, "horizon": horizon},
            baseline=baselines.mean_prediction(self.train, self.test),
            best_possible={"mse": 0.0},
        )


def exact_trajectory(start: Tensor, times: Tensor, frequency: float, damping: float) -> Tensor:
    """Compute the exact state (s, s') at each time.

    Args:
        start: State (B, 2) at time 0.
        times: Observation times (B, P).
        frequency: Undamped angular frequency.
        damping: Damping rate, less than ``frequency``.

    Returns:
        States (B, P, 2).
    """
    position, velocity = start[:, :1], start[:, 1:]
    angular_frequency = (frequency**2 - damping**2) ** 0.5
    cos, sin = (angular_frequency * times).cos(), (angular_frequency * times).sin() / angular_frequency
    position_t = position * cos + (velocity + damping * position) * sin
    velocity_t = velocity * cos - (frequency**2 * position + damping * velocity) * sin
    return torch.exp(-damping * times)[..., None] * torch.stack((position_t, velocity_t), -1)
