"""The evidence lower bound: how well a latent variable explains an example."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal, NamedTuple, Unpack, cast

import torch
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, ImageGrid, ImageTile, LazyArtifact, caption_row
from trainer.core.batch import Batch, Score
from trainer.core.dataset import Dataset
from trainer.core.divergences import standard_normal_kl
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt, Probability
from trainer.metrics.double_precision import to_double
from trainer.tasks.base.generative import Generative, GenerativeOptions
from trainer.tasks.base.model_protocols import LatentVariableModel
from trainer.tasks.evaluation.sample_metrics import load_rows, subsample_indices
from trainer.tasks.losses.likelihoods import make_likelihood as likelihood_of
from trainer.utils.errors import ConfigError

MAX_CHECKED_ROWS = 1024
"""Rows of a split that are looked at before training to tell whether a likelihood can be theirs."""
ROUNDING_TOLERANCE = 1e-5
"""How far out of its span a value may lie that was scaled there and back."""
MAX_BASELINE_ROWS = 10000
"""Rows of a split that a decoder without a code is fitted to, or judged by."""
MAX_RECONSTRUCTIONS, INTERPOLATION_STEPS = 10, 10
"""Test pictures that are rebuilt side by side, and pictures on the way from one to another."""


class ElboTerms(NamedTuple):
    """What is known of the likelihood of examples, in nats, (B,) each."""

    reconstruction: Tensor
    """``-E_q log p(x|z)``, by sampling."""
    kl: Tensor
    """``KL(q(z|x) || p(z))``, in closed form."""
    bound: Tensor
    """The importance-weighted bound, over the same samples."""


class VariationalInference(Generative):
    """Kingma and Welling 2014: ``elbo = E_q(z|x) log p(x|z) - KL(q(z|x) || p(z))``, in nats per example. Training takes
    one posterior sample and weighs the KL by ``beta`` (Higgins et al. 2017), which rises from 0 over the first
    ``beta_warmup`` of the run (Bowman et al. 2016). Scores are of the bound itself, beta 1, over k = ``eval_samples``,
    and of ``iw_bound = E log 1/k sum_i p(x, z_i) / q(z_i|x)`` (Burda et al. 2016, eq. 8), over the same ones: it lies
    between the elbo, which it is for k = 1, and the log-likelihood, to which it rises with k. ``gap`` is how far the
    elbo lies below the exact log-likelihood, where the data knows it; ``bits_per_dim = -elbo / (D log 2)`` of D
    numbers, where what they can be is counted (ones drawn with chance x, shades). Rows that are made are draws from
    the likelihood, pictures its mean, as is usual: a draw adds the same grain to all of them.
    """

    shapes = "(B, ...) -> ()"

    monitor = "elbo"
    required_model_methods: ClassVar[tuple[str, ...]] = ("encode", "decode")
    row_options = ("start", "end")

    def __init__(
        self,
        model: nn.Module,
        likelihood: Literal["gaussian", "bernoulli", "categorical"] = "gaussian",
        binarise: bool = False,
        beta: NonNegativeFloat = 1.0,
        beta_warmup: Probability = 0.1,
        eval_samples: PositiveInt = 16,
        **options: Unpack[GenerativeOptions],
    ):
        super().__init__(model, **options)
        self.likelihood = likelihood_of(likelihood, self._latent_model.levels, binarise)
        self.likelihood_name = likelihood
        self.beta = beta
        self.beta_warmup = beta_warmup
        self.eval_samples = eval_samples
        self.latent = int(self._latent_model.latent)
        if math.isfinite(self.likelihood.value_range[0]):
            self.value_range = self.likelihood.value_range

    @property
    def _latent_model(self) -> LatentVariableModel:
        return cast(LatentVariableModel, self.model)

    def setup(self, data: Dataset) -> None:
        super().setup(data)
        self.row_names = data.test.get_row_names(first=0)
        low, high = self.likelihood.value_range
        for name, split in (("train", data.train), ("val", data.val), ("test", data.test)):
            rows = torch.arange(min(len(split), MAX_CHECKED_ROWS))
            x = self.normalize(split.to_model_inputs(split.batch(rows, 0)))
            outside = ~((x >= low - ROUNDING_TOLERANCE) & (x <= high + ROUNDING_TOLERANCE)).flatten(1).all(1)
            if outside.any():
                row = int(outside.nonzero()[0])
                raise ConfigError(
                    f"task.likelihood: {self.likelihood_name} wants values in [{low:g}, {high:g}]; row {row} of the"
                    f" {name} split has {x[row].min():g} to {x[row].max():g} (gaussian takes any number)"
                )

    def estimate_elbo_terms(self, batch: Batch, samples: int) -> ElboTerms:
        """One sample after the other, so that many of them need no more memory than one."""
        x, label = self.likelihood.discretize_input(self.normalize(batch)), self.get_labels(batch)
        mean, log_variance = (part.float() for part in self._latent_model.encode(x, label))
        flat, sigma = x.flatten(1), torch.exp(log_variance / 2)
        nats, weights = [], []
        for _ in range(samples):
            noise = torch.randn_like(mean)
            z = mean + sigma * noise
            nats.append(self.likelihood(self.decode_latent(z, label), flat))
            # log p(x|z) + log p(z) - log q(z|x): the constants of the two normals cancel.
            weights.append(nats[-1] + (noise.square() + log_variance - z.square()).sum(1) / 2)
        kl = standard_normal_kl(mean, log_variance)
        bound = torch.stack(weights).logsumexp(0) - math.log(samples)
        return ElboTerms(-torch.stack(nats).mean(0), kl, bound)

    def decode_latent(self, z: Tensor, label: Tensor | None) -> Tensor:
        return self._latent_model.decode(z, label).float()

    def compute_kl_weight(self) -> Tensor | float:
        """beta, or what the warm-up has reached of it."""
        if not self.beta_warmup:
            return self.beta
        return self.beta * (self.progress / self.beta_warmup).clamp(max=1.0)

    def loss(self, batch: Batch, player: str) -> Tensor:
        terms = self.estimate_elbo_terms(batch, 1)
        return (terms.reconstruction + self.compute_kl_weight() * terms.kl).mean()

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        reconstruction, kl, bound = self.estimate_elbo_terms(batch, self.eval_samples)
        return {"elbo": -reconstruction - kl, "iw_bound": bound, "reconstruction": reconstruction, "kl": kl}

    def score(self, batch: Batch) -> Score:
        rated = self.score_rows(batch)
        if self.info.log_likelihood is not None:
            rated["gap"] = self.info.log_likelihood(batch.inputs["x"]) - rated["elbo"]
        sums: Score = {name: to_double(each).sum() for name, each in rated.items()}
        return self.collect_real_rows(batch) | sums | {"count": torch.tensor(len(batch), device=self.progress.device)}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        names = ("elbo", "iw_bound", "gap", "reconstruction", "kl")
        found = {name: float(totals[name] / totals["count"]) for name in names if name in totals}
        return found | self.compute_bits_per_dim(found["elbo"]) | self.compare_samples(totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return -scores["elbo"] if self.beta == 1 else None

    def compute_bits_per_dim(self, nats: float) -> dict[str, float]:
        return {"bits_per_dim": -nats / (math.prod(self.shape) * math.log(2))} if self.likelihood.is_discrete else {}

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """And the elbo of a decoder without a code, which is its log-likelihood, unless the data knows a better one."""
        baseline, best = super().reference_scores()
        nats = self.info.baseline.get("elbo") or self.unconditional_log_prob()
        return baseline | {"elbo": nats, "iw_bound": nats} | self.compute_bits_per_dim(nats), best

    def unconditional_log_prob(self) -> float:
        """The mean nats of test rows where a decoder says the same of every row: what fits training rows best."""
        seen, x = (
            self.likelihood.discretize_input(
                self.normalize(
                    load_rows(split, subsample_indices(len(split), MAX_BASELINE_ROWS)).to(self.progress.device)
                )
            )
            for split in (self.sample_metrics.data.train, self.sample_metrics.data.test)
        )
        return float(to_double(self.likelihood.unconditional_log_prob(seen.flatten(1), x.flatten(1))).mean())

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        z = torch.randn(count, self.latent, device=self.progress.device)
        return (self.likelihood.compute_mean if self.is_image_data else self.likelihood.draw)(
            self.decode_latent(z, label)
        )

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        if not self.is_image_data:
            return
        batch = next(iter(batches))
        if len(batch) > 1:
            yield LazyArtifact("rebuilt", lambda: self._plot_reconstructions(batch))
            yield LazyArtifact("between", lambda: self._plot_interpolations(batch))

    @torch.no_grad()
    def _plot_reconstructions(self, batch: Batch) -> Artifact:
        """Pictures above what is made of their codes."""
        real, again = (
            batch.inputs["x"][:MAX_RECONSTRUCTIONS],
            self.decode_mean(*self.encode_mean(batch))[:MAX_RECONSTRUCTIONS],
        )
        captions = [caption_row(self.row_names, row) for row in batch.index[:MAX_RECONSTRUCTIONS].tolist()] + [
            "rebuilt"
        ] * len(real)
        both = self.to_unit_range(torch.cat((real, again)))
        return ImageGrid(
            "rebuilt",
            [ImageTile(x, text, bounds=self.display_bounds) for x, text in zip(both, captions, strict=True)],
            len(real),
        )

    @torch.no_grad()
    def _plot_interpolations(self, batch: Batch) -> Artifact:
        """The ways from one picture to another."""
        code, label = self.encode_mean(batch)
        pairs = min(MAX_RECONSTRUCTIONS, len(batch)) // 2
        ends = torch.arange(2 * pairs).view(2, pairs).T
        ways = [self.interpolate(code[two], None if label is None else label[two], INTERPOLATION_STEPS) for two in ends]
        return ImageGrid(
            "between",
            [ImageTile(x, "", bounds=self.display_bounds) for x in self.to_unit_range(torch.cat(ways))],
            INTERPOLATION_STEPS,
        )

    def sample(
        self,
        count: PositiveInt = 64,
        label: NonNegativeInt | None = None,
        seed: NonNegativeInt = 0,
        start: NonNegativeInt | None = None,
        end: NonNegativeInt | None = None,
    ) -> Iterator[str | Artifact]:
        """New rows; or ``count`` rows on the way from the test row ``start`` to the test row ``end``."""
        if start is None and end is None:
            yield from super().sample(count, label, seed)
            return
        rows = len(self.sample_metrics.data.test)
        if start is None or end is None or max(start, end) >= rows or label is not None:
            given = f"start={start}, end={end}, label={label}"
            raise ConfigError(f"sample: {given} given; a way goes from one of the test rows 0 to {rows - 1} to another")
        batch = load_rows(self.sample_metrics.data.test, torch.tensor([start, end])).to(self.progress.device)
        with torch.no_grad():
            yield from self.to_artifacts(self.interpolate(*self.encode_mean(batch), count), f"between-{start}-{end}")

    def encode_mean(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """The means of the posteriors (B, latent), and the classes (B) for a model that is told them."""
        label = self.get_labels(batch)
        mean, _ = self._latent_model.encode(self.likelihood.discretize_input(self.normalize(batch)), label)
        return mean.float(), label

    def decode_mean(self, z: Tensor, label: Tensor | None) -> Tensor:
        """The rows (B, ...) that are expected of codes (B, latent), as the data has them."""
        return self.denormalize(self.likelihood.compute_mean(self.decode_latent(z, label)))

    def interpolate(self, ends: Tensor, label: Tensor | None, steps: int) -> Tensor:
        """Rows (steps, ...) on the straight way from a code to another, (2, latent), of the class of the nearer one."""
        share = torch.linspace(0, 1, steps, device=ends.device)
        of = None if label is None else label[(share > 0.5).long()]
        return self.decode_mean(torch.lerp(ends[0], ends[1], share[:, None]), of)
