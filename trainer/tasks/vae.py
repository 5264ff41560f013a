"""The evidence lower bound: how well a latent variable explains an example."""

from __future__ import annotations

import math
from typing import ClassVar, Literal, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.batch import Batch, Score
from trainer.data.base import Data
from trainer.errors import ConfigError
from trainer.metrics import wide
from trainer.tasks.parts.generative import Generation, Generative
from trainer.types import NonNegativeFloat, PositiveInt, Probability

LOOKED_AT = 1024
"""Rows of a split that are looked at before training to tell whether a likelihood can be theirs."""


class Gaussian(nn.Module):
    """``p(x|z) = N(decoded, sigma^2 I)`` with one learned sigma."""

    support: ClassVar[tuple[float, float]] = (-math.inf, math.inf)

    def __init__(self) -> None:
        super().__init__()
        self.log_sigma = nn.Parameter(torch.zeros(()))

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Nats of x (B, D) under decoded (..., B, D), summed over D."""
        error = (x - decoded) * torch.exp(-self.log_sigma)
        constant = self.log_sigma + math.log(2 * math.pi) / 2
        return -error.square().sum(-1) / 2 - x.shape[-1] * constant

    def draw(self, decoded: Tensor) -> Tensor:
        """Rows as likely as this says, with the decoded means."""
        return decoded + torch.exp(self.log_sigma) * torch.randn_like(decoded)


class Bernoulli(nn.Module):
    """``p(x|z)``: each number of x in [0, 1] is the share of ones drawn with the decoded logit."""

    support: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def forward(self, decoded: Tensor, x: Tensor) -> Tensor:
        """Nats of x (B, D) under logits (..., B, D), summed over D."""
        return (x * decoded - F.softplus(decoded)).sum(-1)

    def draw(self, decoded: Tensor) -> Tensor:
        """The chances themselves, not ones and zeros drawn with them: what a picture of many draws would show."""
        return torch.sigmoid(decoded)


_LIKELIHOODS: dict[str, type[Gaussian] | type[Bernoulli]] = {"gaussian": Gaussian, "bernoulli": Bernoulli}


class VariationalInference(Generative):
    """(B, ...) -> ()

    Kingma and Welling 2014: ``elbo = E_q(z|x) log p(x|z) - KL(q(z|x) || p(z))``, in nats per example. Training takes
    one posterior sample and weighs the KL by ``beta`` (Higgins et al. 2017), which rises from 0 over the first
    ``beta_warmup`` of the run (Bowman et al. 2016). Scores are of the bound itself, beta 1, over ``eval_samples``.
    ``gap`` is how far the bound lies below the exact log-likelihood, where the data knows it.
    """

    monitor = "elbo"
    needs: ClassVar[tuple[str, ...]] = ("encode", "decode")

    def __init__(
        self,
        model: nn.Module,
        likelihood: Literal["gaussian", "bernoulli"],
        beta: NonNegativeFloat,
        beta_warmup: Probability,
        eval_samples: PositiveInt,
        **options: Unpack[Generation],
    ):
        super().__init__(model, **options)
        self.likelihood = _LIKELIHOODS[likelihood]()
        self.likelihood_name = likelihood
        self.beta = beta
        self.beta_warmup = beta_warmup
        self.eval_samples = eval_samples
        self.latent = int(model.latent)  # type: ignore[arg-type]
        if likelihood == "bernoulli":
            self.span = self.likelihood.support

    def attach(self, data: Data) -> None:
        super().attach(data)
        low, high = self.likelihood.support
        for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
            rows = torch.arange(min(len(split), LOOKED_AT))
            x = self.rows(split.finish(split.batch(rows, 0)))
            outside = ~((x >= low) & (x <= high)).flatten(1).all(1)
            if outside.any():
                row = int(outside.nonzero()[0])
                raise ConfigError(
                    f"task.likelihood: {self.likelihood_name} wants values in [{low:g}, {high:g}]; row {row} of the"
                    f" {name} split has {x[row].min():g} to {x[row].max():g} (gaussian takes any number)"
                )

    def terms(self, batch: Batch, samples: int) -> tuple[Tensor, Tensor]:
        """Reconstruction ``E_q log p(x|z)``, by sampling, and KL, in closed form: nats per example, (B,) each."""
        x = self.rows(batch)
        mean, log_variance = (part.float() for part in self.model.encode(x))  # type: ignore[operator]
        noise = torch.randn((samples, *mean.shape), device=mean.device)
        z = mean + torch.exp(log_variance / 2) * noise  # (samples, B, latent)
        decoded = self.model.decode(z.flatten(0, 1)).float()  # type: ignore[operator]
        reconstruction = self.likelihood(decoded.unflatten(0, z.shape[:2]), x.flatten(1)).mean(0)
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1) / 2
        return reconstruction, kl

    def weight_of_kl(self) -> Tensor | float:
        """beta, or what the warm-up has reached of it."""
        if not self.beta_warmup:
            return self.beta
        return self.beta * (self.progress / self.beta_warmup).clamp(max=1.0)

    def loss(self, batch: Batch, player: str) -> Tensor:
        reconstruction, kl = self.terms(batch, 1)
        return (self.weight_of_kl() * kl - reconstruction).mean()

    def score(self, batch: Batch) -> Score:
        reconstruction, kl = self.terms(batch, self.eval_samples)
        score = self.seen(batch) | {
            "count": torch.tensor(len(batch), device=kl.device),
            "reconstruction": -wide(reconstruction).sum(),
            "kl": wide(kl).sum(),
        }
        if self.facts.log_likelihood is not None:
            score["exact"] = wide(self.facts.log_likelihood(batch.inputs["x"])).sum()
        return score

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        sums = {name: total for name, total in totals.items() if name not in ("real", "label")}
        each = {name: float(total / totals["count"]) for name, total in sums.items()}
        elbo = -each["reconstruction"] - each["kl"]
        gap = {"gap": each["exact"] - elbo} if "exact" in each else {}
        own = {"elbo": elbo, **gap, "reconstruction": each["reconstruction"], "kl": each["kl"]}
        return own | self.likeness(totals)

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        z = torch.randn(count, self.latent, device=self.progress.device)
        return self.likelihood.draw(self.model.decode(z).float())  # type: ignore[operator]

    def rate(self, batch: Batch) -> dict[str, Tensor]:
        reconstruction, kl = self.terms(batch, self.eval_samples)
        return {"elbo": reconstruction - kl, "reconstruction": -reconstruction, "kl": kl}
