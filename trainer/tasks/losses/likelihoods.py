"""How likely an example is under what a decoder makes of its code, and what an example of that kind looks like."""

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
    """``p(x|z)`` of D independent numbers, from the numbers decoded for them (..., D * ``levels``), in x's order."""

    value_range: ClassVar[tuple[float, float]]
    """The least and the largest value that x can have."""
    is_discrete: bool
    """Whether what is observed can be counted: nats are then those of a code, and bits per dimension mean something."""

    def discretize_input(self, x: Tensor) -> Tensor:
        """x (B, ...) as it is explained."""
        return x

    @abstractmethod
    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Nats (...) of observed x (..., D), summed over D."""

    @abstractmethod
    def unconditional_log_prob(self, seen: Tensor, x: Tensor) -> Tensor:
        """Nats (N) of x (N, D) where the same is said of every row: what fits observed rows (M, D) best."""

    @abstractmethod
    def compute_mean(self, decoded: Tensor) -> Tensor:
        """The expected x (..., D)."""

    @abstractmethod
    def draw(self, decoded: Tensor) -> Tensor:
        """An x (..., D), from torch's generator."""


class Gaussian(Likelihood):
    """``p(x|z) = N(decoded, sigma^2 I)`` with one learned sigma."""

    value_range = (-math.inf, math.inf)
    is_discrete = False

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        error = (x - decoded) * torch.exp(-self.log_sigma)
        constant = self.log_sigma + math.log(2 * math.pi) / 2
        return -error.square().sum(-1) / 2 - x.shape[-1] * constant

    def unconditional_log_prob(self, seen: Tensor, x: Tensor) -> Tensor:
        centre = seen.mean(0)
        sigma = (seen - centre).square().mean().sqrt()
        return Normal(centre, sigma).log_prob(x).sum(-1)

    def compute_mean(self, decoded: Tensor) -> Tensor:
        return decoded

    def draw(self, decoded: Tensor) -> Tensor:
        return decoded + torch.exp(self.log_sigma) * torch.randn_like(decoded)


class Bernoulli(Likelihood):
    """``p(x|z)``: each number of x in [0, 1] is a share of ones, drawn with the decoded logit.

    binarise: what is explained is a draw of 0 or 1 with chance x, another one each time (Burda et al. 2016); else x
    itself, whose nats are then no density, since they do not add up to 1 over [0, 1].
    """

    value_range = (0.0, 1.0)

    def __init__(self, binarise: bool):
        super().__init__()
        self.is_discrete = binarise

    def discretize_input(self, x: Tensor) -> Tensor:
        return torch.bernoulli(x.clamp(0, 1)) if self.is_discrete else x

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        return (x * decoded - F.softplus(decoded)).sum(-1)

    def unconditional_log_prob(self, seen: Tensor, x: Tensor) -> Tensor:
        # Half a one and half a zero more than was seen, so that what never was is not impossible.
        return self(torch.logit((seen.sum(0) + 0.5) / (len(seen) + 1)), x)

    def compute_mean(self, decoded: Tensor) -> Tensor:
        return decoded.sigmoid()

    def draw(self, decoded: Tensor) -> Tensor:
        return torch.bernoulli(decoded.sigmoid())


class Categorical(Likelihood):
    """``p(x|z)``: each number of x is one of ``levels`` even steps from 0 to 1, with a decoded logit for each of them.

    What lies between two steps is rounded.
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

    def unconditional_log_prob(self, seen: Tensor, x: Tensor) -> Tensor:
        level = self._round_to_level(seen)
        counts = torch.stack([(level == one).sum(0) for one in range(self.levels)], dim=-1)
        return self((counts + 0.5).log().flatten().expand(len(x), -1), x)

    def compute_mean(self, decoded: Tensor) -> Tensor:
        return self._log_probs(decoded).exp() @ self.get_buffer("values")

    def draw(self, decoded: Tensor) -> Tensor:
        chance = self._log_probs(decoded).exp()
        drawn = torch.multinomial(chance.flatten(0, -2), 1)
        return self.get_buffer("values")[drawn].view(chance.shape[:-1])

    def _round_to_level(self, x: Tensor) -> Tensor:
        """The number of the nearest step."""
        return torch.round(x.clamp(0, 1) * (self.levels - 1))

    def _log_probs(self, decoded: Tensor) -> Tensor:
        """Of each step, (..., D, levels)."""
        return decoded.unflatten(-1, (-1, self.levels)).log_softmax(-1)


def make_likelihood(name: Literal["gaussian", "bernoulli", "categorical"], levels: int, binarise: bool) -> Likelihood:
    """The likelihood of that name for a decoder that gives ``levels`` numbers for each of x's.

    Raises ConfigError for a number of levels or a ``binarise`` that the likelihood has no use for.
    """
    if binarise and name != "bernoulli":
        raise ConfigError(f"task.binarise: ones and zeros want task.likelihood=bernoulli, not {name}")
    if name == "categorical" and levels == 1:
        raise ConfigError("model.levels: 1 number for each of x's; task.likelihood=categorical needs as many as shades")
    if name != "categorical" and levels > 1:
        raise ConfigError(f"model.levels: {levels} given; task.likelihood={name} takes 1 number for each of x's")
    kinds: dict[str, Callable[[], Likelihood]] = {
        "gaussian": Gaussian,
        "bernoulli": partial(Bernoulli, binarise),
        "categorical": partial(Categorical, levels),
    }
    return kinds[name]()
