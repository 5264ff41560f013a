"""Likelihoods p(x|z) of decoders: Gaussian, Bernoulli and categorical."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from trainer.core.token_selection import select_by_noise
from trainer.utils.errors import ConfigError


class Likelihood(nn.Module, ABC):
    """Base class of likelihoods ``p(x|z) = prod_d p(x_d|z)`` of D features.

    Its parameters are the decoder outputs (..., D * levels), with one value per feature except for categorical ones.
    """

    value_range: ClassVar[tuple[float, float]]
    """Bounds of the support of x."""
    is_discrete: bool
    """True if x is discrete; bits per dimension are defined only then."""

    def discretize_input(self, x: Tensor) -> Tensor:
        """Return x (B, ...) as the likelihood models it: binarized or rounded, if it is discrete."""
        return x

    @abstractmethod
    def forward(self, params: Tensor, x: Tensor) -> Tensor:
        """Return ``log p(x|z)`` in nats, summed over the features, (...).

        Args:
            params: Decoder outputs (..., D * levels).
            x: Rows (..., D).
        """

    @abstractmethod
    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        """Return the log-likelihoods (N,) in nats under constant parameters fitted to the training rows.

        Args:
            train: Training rows (M, D).
            x: Rows (N, D).
        """

    @abstractmethod
    def compute_mean(self, params: Tensor) -> Tensor:
        """Return the mean E[x|z] (..., D), given the decoder outputs (..., D * levels)."""

    @abstractmethod
    def draw(self, params: Tensor) -> Tensor:
        """Return a sample x (..., D) from torch's global generator, given the decoder outputs (..., D * levels)."""

    def draw_noise(self, x: Tensor) -> Tensor:
        """Return the noise of ``transform_noise``, of the shape of x: uniform in [0, 1), unless overridden."""
        return torch.rand_like(x)

    @abstractmethod
    def transform_noise(self, params: Tensor, noise: Tensor) -> Tensor:
        """Return the sample x (..., D) that noise is transformed to, distributed as those of ``draw``.

        Args:
            params: Decoder outputs (..., D * levels).
            noise: Noise (..., D).
        """


class Gaussian(Likelihood):
    """Gaussian likelihood with the decoder output as mean and one learned standard deviation sigma.

    ``log p(x|z) = -|x - mean|^2 / (2 sigma^2) - D (log sigma + log(2 pi) / 2)``.

    References:
        Rybkin et al., Simple and Effective VAE Training with Calibrated Decoders, ICML 2021 (sigma-VAE).
    """

    value_range = (-math.inf, math.inf)
    is_discrete = False

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, params: Tensor, x: Tensor) -> Tensor:
        error = (x - params) * torch.exp(-self.log_sigma)
        constant = self.log_sigma + math.log(2 * math.pi) / 2
        return -error.square().sum(-1) / 2 - x.shape[-1] * constant

    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        mean = train.mean(0)
        sigma = (train - mean).square().mean().sqrt()
        return Normal(mean, sigma).log_prob(x).sum(-1)

    def compute_mean(self, params: Tensor) -> Tensor:
        return params

    def draw(self, params: Tensor) -> Tensor:
        return self.transform_noise(params, self.draw_noise(params))

    def draw_noise(self, x: Tensor) -> Tensor:
        return torch.randn_like(x)

    def transform_noise(self, params: Tensor, noise: Tensor) -> Tensor:
        return params + torch.exp(self.log_sigma) * noise


class Bernoulli(Likelihood):
    """Bernoulli likelihood with the decoder outputs l as logits: ``log p(x|z) = sum_d x_d l_d - softplus(l_d)``.

    Args:
        binarize: Whether to replace x in [0, 1] by a Bernoulli sample with mean x, a new one in every pass. Otherwise x
            itself is used, and the result is not a normalized density on [0, 1].

    References:
        Burda et al., Importance Weighted Autoencoders, ICLR 2016 (dynamic binarization).
    """

    value_range = (0.0, 1.0)

    def __init__(self, binarize: bool):
        super().__init__()
        self.is_discrete = binarize

    def discretize_input(self, x: Tensor) -> Tensor:
        return torch.bernoulli(x.clamp(0, 1)) if self.is_discrete else x

    def forward(self, params: Tensor, x: Tensor) -> Tensor:
        return (x * params - F.softplus(params)).sum(-1)

    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        # Add-one-half smoothing gives values that are absent from the training rows a positive probability.
        return self(torch.logit((train.sum(0) + 0.5) / (len(train) + 1)), x)

    def compute_mean(self, params: Tensor) -> Tensor:
        return params.sigmoid()

    def draw(self, params: Tensor) -> Tensor:
        return torch.bernoulli(params.sigmoid())

    def transform_noise(self, params: Tensor, noise: Tensor) -> Tensor:
        return (noise < params.sigmoid()).to(params)


class Categorical(Likelihood):
    """Categorical likelihood over evenly spaced values in [0, 1], with one logit per level.

    ``log p(x|z) = sum_d log softmax(logits_d)[level(x_d)]``, where other values are rounded to the nearest level.

    Args:
        levels: Number of levels, at least 2.
    """

    value_range = (0.0, 1.0)
    is_discrete = True

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels
        self.register_buffer("values", torch.linspace(0, 1, levels), persistent=False)

    def discretize_input(self, x: Tensor) -> Tensor:
        return self._round_to_level(x) / (self.levels - 1)

    def forward(self, params: Tensor, x: Tensor) -> Tensor:
        level = self._round_to_level(x)[..., None].long()
        return self._log_probs(params).gather(-1, level).squeeze(-1).sum(-1)

    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        level = self._round_to_level(train)
        counts = torch.stack([(level == index).sum(0) for index in range(self.levels)], dim=-1)
        return self((counts + 0.5).log().flatten().expand(len(x), -1), x)

    def compute_mean(self, params: Tensor) -> Tensor:
        return self._log_probs(params).exp() @ self.get_buffer("values")

    def draw(self, params: Tensor) -> Tensor:
        probs = self._log_probs(params).exp()
        levels = torch.multinomial(probs.flatten(0, -2), 1)
        return self.get_buffer("values")[levels].view(probs.shape[:-1])

    def transform_noise(self, params: Tensor, noise: Tensor) -> Tensor:
        return self.get_buffer("values")[select_by_noise(self._log_probs(params).exp(), noise)]

    def _round_to_level(self, x: Tensor) -> Tensor:
        """Return the indices of the nearest levels, as floats."""
        return torch.round(x.clamp(0, 1) * (self.levels - 1))

    def _log_probs(self, params: Tensor) -> Tensor:
        """Return the log probabilities of the levels, (..., D, levels)."""
        return params.unflatten(-1, (-1, self.levels)).log_softmax(-1)


def make_likelihood(name: Literal["gaussian", "bernoulli", "categorical"], levels: int, binarize: bool) -> Likelihood:
    """Return a likelihood by name.

    Args:
        name: ``gaussian``, ``bernoulli`` or ``categorical``.
        levels: Decoder outputs per feature; 1 except for ``categorical``.
        binarize: Whether to binarize x; only for ``bernoulli``.

    Raises:
        ConfigError: The likelihood does not support ``levels`` or ``binarize``.
    """
    if binarize and name != "bernoulli":
        raise ConfigError(f"task.binarize: binarized data needs task.likelihood=bernoulli, not {name}")
    if name == "categorical" and levels == 1:
        raise ConfigError("model.levels: 1 given; task.likelihood=categorical needs one output per gray level")
    if name != "categorical" and levels > 1:
        raise ConfigError(f"model.levels: {levels} given; task.likelihood={name} takes 1 output per feature")
    if name == "gaussian":
        return Gaussian()
    return Bernoulli(binarize) if name == "bernoulli" else Categorical(levels)
