"""Likelihoods of decoder outputs: Gaussian, Bernoulli and categorical."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Normal

from trainer.utils.errors import ConfigError


class Likelihood(nn.Module, ABC):
    """Factorized likelihood ``p(x|z)`` of D features, from decoder outputs (..., D * ``levels``)."""

    value_range: ClassVar[tuple[float, float]]
    """Bounds of the support of x."""
    is_discrete: bool
    """True if observations are discrete; bits per dimension are defined only then."""

    def discretize_input(self, x: Tensor) -> Tensor:
        """Return x (B, ...) in the form that the likelihood models."""
        return x

    @abstractmethod
    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Return ``log p(x|z)`` in nats (...) of x (..., D), summed over D."""

    @abstractmethod
    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        """Return nats (N) of x (N, D) under the maximum likelihood fit of one output to the rows (M, D)."""

    @abstractmethod
    def compute_mean(self, decoded: Tensor) -> Tensor:
        """Return the mean of x (..., D)."""

    @abstractmethod
    def draw(self, decoded: Tensor) -> Tensor:
        """Sample x (..., D) with torch's global generator."""


class Gaussian(Likelihood):
    """Gaussian likelihood ``p(x|z) = N(decoded, sigma^2 I)`` with one learned sigma."""

    value_range = (-math.inf, math.inf)
    is_discrete = False

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        error = (x - decoded) * torch.exp(-self.log_sigma)
        constant = self.log_sigma + math.log(2 * math.pi) / 2
        return -error.square().sum(-1) / 2 - x.shape[-1] * constant

    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        mean = train.mean(0)
        sigma = (train - mean).square().mean().sqrt()
        return Normal(mean, sigma).log_prob(x).sum(-1)

    def compute_mean(self, decoded: Tensor) -> Tensor:
        return decoded

    def draw(self, decoded: Tensor) -> Tensor:
        return decoded + torch.exp(self.log_sigma) * torch.randn_like(decoded)


class Bernoulli(Likelihood):
    """Bernoulli likelihood with decoder outputs as logits and x in [0, 1].

    Args:
        binarize: replace x by a fresh Bernoulli sample with mean x in every pass (Burda et al. 2016). Otherwise x
            itself is used, and the result is not a normalized density on [0, 1].
    """

    value_range = (0.0, 1.0)

    def __init__(self, binarize: bool):
        super().__init__()
        self.is_discrete = binarize

    def discretize_input(self, x: Tensor) -> Tensor:
        return torch.bernoulli(x.clamp(0, 1)) if self.is_discrete else x

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        return (x * decoded - F.softplus(decoded)).sum(-1)

    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        # Add-one-half smoothing, so that values absent from the training rows keep a positive probability.
        return self(torch.logit((train.sum(0) + 0.5) / (len(train) + 1)), x)

    def compute_mean(self, decoded: Tensor) -> Tensor:
        return decoded.sigmoid()

    def draw(self, decoded: Tensor) -> Tensor:
        return torch.bernoulli(decoded.sigmoid())


class Categorical(Likelihood):
    """Categorical likelihood over ``levels`` evenly spaced values in [0, 1], with one logit per level.

    Other values are rounded to the nearest level.
    """

    value_range = (0.0, 1.0)
    is_discrete = True

    def __init__(self, levels: int):
        super().__init__()
        self.levels = levels
        self.register_buffer("values", torch.linspace(0, 1, levels), persistent=False)

    def discretize_input(self, x: Tensor) -> Tensor:
        return self._round_to_level(x) / (self.levels - 1)

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        level = self._round_to_level(x)[..., None].long()
        return self._log_probs(decoded).gather(-1, level).squeeze(-1).sum(-1)

    def unconditional_log_prob(self, train: Tensor, x: Tensor) -> Tensor:
        level = self._round_to_level(train)
        counts = torch.stack([(level == index).sum(0) for index in range(self.levels)], dim=-1)
        return self((counts + 0.5).log().flatten().expand(len(x), -1), x)

    def compute_mean(self, decoded: Tensor) -> Tensor:
        return self._log_probs(decoded).exp() @ self.get_buffer("values")

    def draw(self, decoded: Tensor) -> Tensor:
        probs = self._log_probs(decoded).exp()
        levels = torch.multinomial(probs.flatten(0, -2), 1)
        return self.get_buffer("values")[levels].view(probs.shape[:-1])

    def _round_to_level(self, x: Tensor) -> Tensor:
        """Return the index of the nearest level."""
        return torch.round(x.clamp(0, 1) * (self.levels - 1))

    def _log_probs(self, decoded: Tensor) -> Tensor:
        """Return the log probability of each level, (..., D, levels)."""
        return decoded.unflatten(-1, (-1, self.levels)).log_softmax(-1)


def make_likelihood(name: Literal["gaussian", "bernoulli", "categorical"], levels: int, binarize: bool) -> Likelihood:
    """Create a likelihood for a decoder with ``levels`` outputs per feature.

    Raises:
        ConfigError: ``levels`` or ``binarize`` that the likelihood does not support.
    """
    if binarize and name != "bernoulli":
        raise ConfigError(f"task.binarize: binarized data needs task.likelihood=bernoulli, not {name}")
    if name == "categorical" and levels == 1:
        raise ConfigError("model.levels: 1 given; task.likelihood=categorical needs one output per gray level")
    if name != "categorical" and levels > 1:
        raise ConfigError(f"model.levels: {levels} given; task.likelihood={name} takes 1 output per feature")
    factories: dict[str, Callable[[], Likelihood]] = {
        "gaussian": Gaussian,
        "bernoulli": partial(Bernoulli, binarize),
        "categorical": partial(Categorical, levels),
    }
    return factories[name]()
