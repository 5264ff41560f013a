"""Variational inference with the evidence lower bound (ELBO)."""

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
"""Rows per split checked against the support of the likelihood before training."""
ROUNDING_TOLERANCE = 1e-5
"""Tolerance for rounding errors of rescaled values outside the support."""
MAX_BASELINE_ROWS = 10000
"""Rows per split used to fit and score a decoder without latent."""
MAX_RECONSTRUCTIONS, INTERPOLATION_STEPS = 10, 10
"""Columns of the reconstructions grid, and images per interpolation."""


class ElboTerms(NamedTuple):
    """Terms of the log-likelihood bound, in nats, (B,) each."""

    reconstruction: Tensor
    """``-E_q log p(x|z)``, a Monte Carlo estimate."""
    kl: Tensor
    """``KL(q(z|x) || p(z))``, in closed form."""
    bound: Tensor
    """Importance-weighted bound over the same samples."""


class VariationalInference(Generative):
    """Variational autoencoder training, ``elbo = E_q(z|x) log p(x|z) - KL(q(z|x) || p(z))`` in nats per example.

    Training uses one posterior sample. Scores use the ELBO with beta 1 over ``eval_samples`` samples, and over the same
    samples ``iw_bound = E log 1/k sum_i p(x, z_i) / q(z_i|x)``, which equals the ELBO for k = 1 and increases with k
    towards the log-likelihood. ``gap`` is the distance of the ELBO to the exact log-likelihood, if the data reports it.
    ``bits_per_dim = -elbo / (D log 2)`` is defined for discrete likelihoods. Generated rows are draws from the
    likelihood, images its mean, as is usual: a draw adds pixel noise.

    Args:
        likelihood: likelihood of the decoder.
        binarize: sample binary x with the pixel values as probabilities.
        beta: weight of the KL term (beta-VAE).
        beta_warmup: fraction of training over which beta increases from 0.
        eval_samples: posterior samples k of the scores.

    References:
        Kingma and Welling 2014, Auto-Encoding Variational Bayes.
        Bowman et al. 2016, Generating Sentences from a Continuous Space (KL annealing).
        Burda et al. 2016, Importance Weighted Autoencoders, eq. 8.
        Higgins et al. 2017, beta-VAE.
    """

    shapes = "(B, ...) -> ()"

    monitor = "elbo"
    required_model_methods: ClassVar[tuple[str, ...]] = ("encode", "decode")
    row_options = ("start", "end")

    def __init__(
        self,
        model: nn.Module,
        likelihood: Literal["gaussian", "bernoulli", "categorical"] = "gaussian",
        binarize: bool = False,
        beta: NonNegativeFloat = 1.0,
        beta_warmup: Probability = 0.1,
        eval_samples: PositiveInt = 16,
        **options: Unpack[GenerativeOptions],
    ):
        super().__init__(model, **options)
        self.likelihood = likelihood_of(likelihood, self._latent_model.levels, binarize)
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
                    f"task.likelihood: {self.likelihood_name} needs values in [{low:g}, {high:g}]; row {row} of the"
                    f" {name} split has {x[row].min():g} to {x[row].max():g} (gaussian accepts any value)"
                )

    def estimate_elbo_terms(self, batch: Batch, samples: int) -> ElboTerms:
        """Estimate the ELBO terms, sample by sample, so that memory does not grow with the number of samples."""
        x, label = self.likelihood.discretize_input(self.normalize(batch)), self.get_labels(batch)
        mean, log_variance = (part.float() for part in self._latent_model.encode(x, label))
        flat, sigma = x.flatten(1), torch.exp(log_variance / 2)
        nats, weights = [], []
        for _ in range(samples):
            noise = torch.randn_like(mean)
            z = mean + sigma * noise
            nats.append(self.likelihood(self.decode_latent(z, label), flat))
            # log p(x|z) + log p(z) - log q(z|x): the normalization constants of the two Gaussians cancel.
            weights.append(nats[-1] + (noise.square() + log_variance - z.square()).sum(1) / 2)
        kl = standard_normal_kl(mean, log_variance)
        bound = torch.stack(weights).logsumexp(0) - math.log(samples)
        return ElboTerms(-torch.stack(nats).mean(0), kl, bound)

    def decode_latent(self, z: Tensor, label: Tensor | None) -> Tensor:
        return self._latent_model.decode(z, label).float()

    def compute_kl_weight(self) -> Tensor | float:
        """Return beta at the current training progress."""
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
        scores = self.score_rows(batch)
        if self.info.log_likelihood is not None:
            scores["gap"] = self.info.log_likelihood(batch.inputs["x"]) - scores["elbo"]
        sums: Score = {name: to_double(value).sum() for name, value in scores.items()}
        return self.collect_real_rows(batch) | sums | {"count": torch.tensor(len(batch), device=self.progress.device)}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        names = ("elbo", "iw_bound", "gap", "reconstruction", "kl")
        scores = {name: float(totals[name] / totals["count"]) for name in names if name in totals}
        return scores | self.compute_bits_per_dim(scores["elbo"]) | self.compare_samples(totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return -scores["elbo"] if self.beta == 1 else None

    def compute_bits_per_dim(self, nats: float) -> dict[str, float]:
        return {"bits_per_dim": -nats / (math.prod(self.shape) * math.log(2))} if self.likelihood.is_discrete else {}

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Add the ELBO of a decoder without latent, or the baseline reported by the data."""
        baseline, best = super().reference_scores()
        nats = self.info.baseline.get("elbo") or self.unconditional_log_prob()
        return baseline | {"elbo": nats, "iw_bound": nats} | self.compute_bits_per_dim(nats), best

    def unconditional_log_prob(self) -> float:
        """Return the mean nats of test rows under a decoder with constant output, fitted to the training rows."""
        train, x = (
            self.likelihood.discretize_input(
                self.normalize(
                    load_rows(split, subsample_indices(len(split), MAX_BASELINE_ROWS)).to(self.progress.device)
                )
            )
            for split in (self.sample_metrics.data.train, self.sample_metrics.data.test)
        )
        return float(to_double(self.likelihood.unconditional_log_prob(train.flatten(1), x.flatten(1))).mean())

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
            yield LazyArtifact("reconstructions", lambda: self._plot_reconstructions(batch))
            yield LazyArtifact("interpolations", lambda: self._plot_interpolations(batch))

    @torch.no_grad()
    def _plot_reconstructions(self, batch: Batch) -> Artifact:
        """Draw images above their reconstructions."""
        real, reconstructed = (
            batch.inputs["x"][:MAX_RECONSTRUCTIONS],
            self.decode_mean(*self.encode_mean(batch))[:MAX_RECONSTRUCTIONS],
        )
        captions = [caption_row(self.row_names, row) for row in batch.index[:MAX_RECONSTRUCTIONS].tolist()] + [
            "reconstructed"
        ] * len(real)
        images = self.to_unit_range(torch.cat((real, reconstructed)))
        return ImageGrid(
            "reconstructions",
            [ImageTile(x, text, bounds=self.display_bounds) for x, text in zip(images, captions, strict=True)],
            len(real),
        )

    @torch.no_grad()
    def _plot_interpolations(self, batch: Batch) -> Artifact:
        """Draw interpolations between pairs of images."""
        z, label = self.encode_mean(batch)
        pairs = min(MAX_RECONSTRUCTIONS, len(batch)) // 2
        ends = torch.arange(2 * pairs).view(2, pairs).T
        paths = [
            self.interpolate(z[pair], None if label is None else label[pair], INTERPOLATION_STEPS) for pair in ends
        ]
        return ImageGrid(
            "interpolations",
            [ImageTile(x, "", bounds=self.display_bounds) for x in self.to_unit_range(torch.cat(paths))],
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
        """Generate rows, or interpolate in ``count`` steps from the test row ``start`` to the test row ``end``."""
        if start is None and end is None:
            yield from super().sample(count, label, seed)
            return
        rows = len(self.sample_metrics.data.test)
        if start is None or end is None or max(start, end) >= rows or label is not None:
            options = f"start={start}, end={end}, label={label}"
            raise ConfigError(
                f"sample: {options} given; start and end must be test rows 0 to {rows - 1}, without a label"
            )
        batch = load_rows(self.sample_metrics.data.test, torch.tensor([start, end])).to(self.progress.device)
        with torch.no_grad():
            yield from self.to_artifacts(
                self.interpolate(*self.encode_mean(batch), count), f"interpolation-{start}-{end}"
            )

    def encode_mean(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the posterior means (B, latent), and the labels (B) of a class-conditional model."""
        label = self.get_labels(batch)
        mean, _ = self._latent_model.encode(self.likelihood.discretize_input(self.normalize(batch)), label)
        return mean.float(), label

    def decode_mean(self, z: Tensor, label: Tensor | None) -> Tensor:
        """Return the likelihood means (B, ...) of latents (B, latent), in the range of the data."""
        return self.denormalize(self.likelihood.compute_mean(self.decode_latent(z, label)))

    def interpolate(self, ends: Tensor, label: Tensor | None, steps: int) -> Tensor:
        """Decode a linear interpolation (steps, ...) between two latents (2, latent).

        Each step has the label of the nearer end.
        """
        t = torch.linspace(0, 1, steps, device=ends.device)
        labels = None if label is None else label[(t > 0.5).long()]
        return self.decode_mean(torch.lerp(ends[0], ends[1], t[:, None]), labels)
