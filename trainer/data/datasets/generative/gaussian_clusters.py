"""Points in far-apart clusters: as many codes as there are clusters say all but the noise."""

from __future__ import annotations

from dataclasses import replace

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset, TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import gaussian_mixture
from trainer.data.readers import points
from trainer.data.splits.splitting import split_by_order


class GaussianClusters(Dataset):
    """``x = spread c_k + sigma e`` with k one of ``modes`` and the centres c and the noise e normal. The target is k.
    With one code a cluster the best to say is its centre, so that what is left is the noise: ``sigma^2`` a number. The
    baseline is one code, the mean.
    """

    shapes = "x (B, F) -> (B)"

    def __init__(
        self,
        rows: PositiveInt = 8000,
        modes: PositiveInt = 16,
        in_features: PositiveInt = 8,
        spread: PositiveFloat = 1.0,
        sigma: PositiveFloat = 0.2,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        centres = spread * torch.randn(modes, in_features, generator=random)
        chosen = torch.randint(modes, (rows,), generator=random)
        x = centres[chosen] + sigma * torch.randn(rows, in_features, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, chosen, val=0.1, test=0.1)

        known = gaussian_mixture.make_info(self.train, self.test, centres, sigma, random)
        mean = self.train.inputs["x"].mean(0)
        mse = float((self.test.inputs["x"] - mean).square().mean())
        self.info = replace(
            known,
            baseline={"mse": mse, "codebook_perplexity": 1.0, **known.baseline},
            best_possible={"mse": sigma**2, "codebook_perplexity": float(modes), **known.best_possible},
        )

    def read(self, path: str) -> TensorSplit:
        return points.read(path, self.info.sizes["in_features"])
