"""Points along a spiral, whose arms a model must keep apart; their density is known."""

from __future__ import annotations

import math
from functools import partial

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset, DatasetInfo, TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import gaussian_mixture
from trainer.data.readers import points
from trainer.data.splits.splitting import split_by_order
from trainer.metrics import sample_quality

START_ANGLE, END_ANGLE = 1.5 * math.pi, 4.5 * math.pi
"""The angles between which the spiral runs: one turn and a half."""
STEPS_PER_SIGMA = 10
"""How finely the curve is cut where its density is integrated."""


class SwissRoll(Dataset):
    """``x = radius / END (t cos t, t sin t) + sigma e`` with an angle t uniform from 1.5 to 4.5 pi and e normal: the
    toy of Sohl-Dickstein et al. 2015, which is a slice of the roll of Roweis and Saul 2000. Its density is the mean
    over t of a Gaussian around the curve, by the midpoint rule. The baseline is one Gaussian fitted to the training
    points.
    """

    shapes = "x (B, F) -> ()"

    def __init__(
        self,
        rows: PositiveInt = 20000,
        radius: PositiveFloat = 2.0,
        sigma: PositiveFloat = 0.1,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        place = torch.rand(rows, generator=random)
        x = spiral_points(place, radius) + sigma * torch.randn(rows, 2, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, None, val=0.1, test=0.1)

        fastest = (
            radius * (END_ANGLE - START_ANGLE) * math.hypot(1, 1 / END_ANGLE)
        )  # how far the curve goes for a step of its place
        steps = math.ceil(STEPS_PER_SIGMA * fastest / sigma)
        middles = spiral_points((torch.arange(steps, dtype=torch.float64) + 0.5) / steps, radius)
        log_likelihood = partial(gaussian_mixture.log_prob, centres=middles, sigma=sigma)
        seen, truth = self.train.inputs["x"], self.test.inputs["x"]
        best = float(log_likelihood(truth).mean())
        broad = float(sample_quality.gaussian_log_prob(seen, truth).mean())
        self.info = DatasetInfo(
            sizes={"in_features": 2, "flat_features": 2},
            baseline={"log_likelihood": broad, "gap": best - broad},
            best_possible={"log_likelihood": best, "gap": 0.0, "energy_distance": 0.0},
            log_likelihood=log_likelihood,
        )

    def read(self, path: str) -> TensorSplit:
        return points.read(path, 2)


def spiral_points(place: Tensor, radius: float) -> Tensor:
    """The points (N, 2) of the spiral at places (N,) from 0, within, to 1, at the outer end."""
    angle = START_ANGLE + (END_ANGLE - START_ANGLE) * place
    return radius / END_ANGLE * angle[:, None] * torch.stack((angle.cos(), angle.sin()), 1)
