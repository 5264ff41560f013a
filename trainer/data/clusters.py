"""Points in far-apart clusters: as many codes as there are clusters say all but the noise."""

from __future__ import annotations

import torch

from trainer import seeding
from trainer.data.base import Data, Facts
from trainer.data.parts.splits import cut
from trainer.types import NonNegativeInt, PositiveFloat, PositiveInt


class Clusters(Data):
    """x (B, F) -> (B)

    ``x = spread c_k + sigma e`` with k one of ``modes`` and the centres c and the noise e normal. The target is k. With
    one code a cluster the best to say is its centre, so that what is left is the noise: ``sigma^2`` a number. The
    baseline is one code, the mean, and one Gaussian fitted to the training points.
    """

    def __init__(
        self,
        rows: PositiveInt,
        modes: PositiveInt,
        in_features: PositiveInt,
        spread: PositiveFloat,
        sigma: PositiveFloat,
        seed: NonNegativeInt,
    ):
        random = seeding.generator(seed)
        centres = spread * torch.randn(modes, in_features, generator=random)
        chosen = torch.randint(modes, (rows,), generator=random)
        x = centres[chosen] + sigma * torch.randn(rows, in_features, generator=random)
        self.train, self.val, self.test = cut({"x": x}, chosen, val=0.1, test=0.1)

        seen, truth = self.train.inputs["x"], self.test.inputs["x"]
        self.facts = Facts(
            sizes={
                "in_features": in_features,
                "flat_features": in_features,
                "num_classes": modes,
                "out_features": 1 if modes == 2 else modes,
            },
            baseline={"mse": float((truth - seen.mean(0)).square().mean()), "codebook_perplexity": 1.0},
            best_possible={"mse": sigma**2, "codebook_perplexity": float(modes), "modes": float(modes)},
            modes=centres,
            mode_sigma=sigma,
        )
