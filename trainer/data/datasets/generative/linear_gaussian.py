"""Linear-Gaussian data with exact log-likelihood, for measuring the gap of a variational bound."""

from __future__ import annotations

import torch
from torch import Tensor

from trainer.core import rng
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo, DensityInfo
from trainer.core.split import TensorSplit
from trainer.core.types import NonNegativeInt, PositiveFloat, PositiveInt
from trainer.data.readers import points
from trainer.data.splits.splitting import split_by_order
from trainer.metrics.gaussian import normal_log_prob


class LinearGaussian(Dataset):
    """Samples of a probabilistic PCA model.

    ``x = W z + noise e`` with z (Z) and e (F) standard normal and W (F, Z) drawn once, so ``x ~ N(0, W W' + noise^2
    I)``. The baseline is a diagonal Gaussian.

    Args:
        rows: Number of examples: 60 % training, 20 % validation, 20 % test.
        in_features: Number of dimensions F.
        latent: Latent size Z.
        noise: Standard deviation of the observation noise.
        seed: Random seed of the data.

    References:
        Tipping and Bishop 1999, Probabilistic Principal Component Analysis, JRSS B 61(3), eq. 5.
    """

    shapes = "x (B, F) -> ()"

    def __init__(
        self,
        rows: PositiveInt = 20000,
        in_features: PositiveInt = 20,
        latent: PositiveInt = 4,
        noise: PositiveFloat = 0.5,
        seed: NonNegativeInt = 0,
    ):
        random = rng.make_generator(seed)
        weight = torch.randn(in_features, latent, generator=random)
        z = torch.randn(rows, latent, generator=random)
        x = z @ weight.T + noise * torch.randn(rows, in_features, generator=random)
        self.train, self.val, self.test = split_by_order({"x": x}, None)

        weight64 = weight.double()
        covariance = weight64 @ weight64.T + noise**2 * torch.eye(in_features, dtype=torch.float64)
        self.root = torch.linalg.cholesky(covariance)
        train_x, test_x = self.train.inputs["x"].double(), self.test.inputs["x"].double()
        best = float(self.log_likelihood(test_x).mean())
        diagonal = float(
            normal_log_prob((test_x - train_x.mean(0)) / train_x.std(0), train_x.std(0).log().sum()).mean()
        )
        self.info = DatasetInfo(
            sizes={"in_features": in_features, "flat_features": in_features},
            baseline={"elbo": diagonal, "log_likelihood": diagonal, "gap": best - diagonal},
            best_possible={"elbo": best, "log_likelihood": best, "gap": 0.0},
            density=DensityInfo(log_likelihood=self.log_likelihood),
        )

    def read(self, path: str) -> TensorSplit:
        return points.read(path, self.info.sizes["in_features"])

    def log_likelihood(self, x: Tensor) -> Tensor:
        """Compute the exact ``log p(x)`` in nats, (B,), of x (B, F)."""
        root = self.root.to(x.device)
        whitened = torch.linalg.solve_triangular(root, x.double().T, upper=False).T
        return normal_log_prob(whitened, root.diagonal().log().sum())
