"""Well-separated Gaussian clusters, for vector quantization and density estimation."""

from __future__ import annotations

from dataclasses import replace

import torch

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.split import TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.generators import gaussian_mixture
from trainer.data.readers import points
from trainer.data.splits.splitting import split_by_order


class GaussianClusters(Dataset):
    """Gaussian mixture with random, well-separated centers.

    ``x = spread c_k + sigma e`` with k one of ``modes`` and standard normal centers c and noise e. The target is k.
    With one code per cluster, its center, the reconstruction error is the noise, ``sigma^2`` per dimension. The
    baseline is a single code, the mean.

    Args:
        rows: Number of examples: 80 % training, 10 % validation, 10 % test.
        modes: Number of Gaussians.
        in_features: Number of dimensions F.
        spread: Standard deviation of the centers.
        sigma: Standard deviation of each Gaussian.
        seed: Random seed of the data.
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
        centers = spread * torch.randn(modes, in_features, generator=random)
        component = torch.randint(modes, (rows,), generator=random)
        x = centers[component] + sigma * torch.randn(rows, in_features, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, component, val=0.1, test=0.1)

        mixture_info = gaussian_mixture.make_info(self.train, self.test, centers, sigma, random)
        mean = self.train.inputs["x"].mean(0)
        mse = float((self.test.inputs["x"] - mean).square().mean())
        self.info = replace(
            mixture_info,
            baseline={"mse": mse, "codebook_perplexity": 1.0, **mixture_info.baseline},
            best_possible={"mse": sigma**2, "codebook_perplexity": float(modes), **mixture_info.best_possible},
        )

    def read(self, path: str) -> TensorSplit:
        return points.read(path, self.info.sizes["in_features"])
