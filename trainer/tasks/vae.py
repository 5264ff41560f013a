"""Variational inference with the evidence lower bound (ELBO)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Literal, Unpack, cast

import torch
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, ImageGrid, ImageTile, LazyArtifact, caption_row
from trainer.core.batch import Batch, Score
from trainer.core.dataset import Dataset
from trainer.core.divergences import standard_normal_kl
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt, Probability
from trainer.metrics.double_precision import to_double
from trainer.tasks.base.generative import Generative, GenerativeOptions, draw_score_noise
from trainer.tasks.base.model_protocols import LatentVariableModel
from trainer.tasks.evaluation.sample_metrics import load_rows, load_subsample
from trainer.tasks.losses.elbo_terms import ElboTerms
from trainer.tasks.losses.likelihoods import make_likelihood
from trainer.utils.errors import ConfigError

MAX_CHECKED_ROWS = 1024
"""Rows per split checked against the support of the likelihood before training."""
ROUNDING_TOLERANCE = 1e-5
"""Tolerance for rounding errors of rescaled values outside the support."""
MAX_BASELINE_ROWS = 10000
"""Rows per split used to fit and evaluate a decoder without latent variables."""
MAX_RECONSTRUCTIONS, INTERPOLATION_STEPS = 10, 10
"""Columns of the reconstructions grid, and images per interpolation."""


class VariationalInference(Generative):
    """Variational autoencoder training with the loss ``-E_q(z|x) log p(x|z) + beta KL(q(z|x) || p(z))``.

    The loss is in nats per row and uses one posterior sample, and the KL divergence in closed form. Metrics use
    ``eval_samples`` samples: ``elbo`` is the bound with beta 1, and ``iw_bound = E log 1/k sum_i p(x, z_i) /
    q(z_i|x)``, over the same samples, equals it for k = 1 and increases with k towards log p(x). ``gap`` is the
    distance of the ELBO to the exact log-likelihood, if the data set reports it. ``bits_per_dim = -elbo / (D log 2)``
    is defined for discrete likelihoods.

    Generated rows are samples of the likelihood; generated images are its mean, as usual, because samples would add
    independent noise to each pixel.

    Args:
        model: Model with a posterior and a decoder, see ``LatentVariableModel``.
        likelihood: Likelihood p(x|z): ``gaussian``, ``bernoulli`` or ``categorical``.
        binarize: Binarize x at random, with the pixel values as probabilities, in every pass.
        beta: Weight of the KL term.
        beta_warmup: Fraction of training in which the weight of the KL term increases linearly from 0.
        eval_samples: Posterior samples k of the metrics.
        options: Options of all generative tasks, see ``GenerativeOptions``.

    References:
        Kingma and Welling, Auto-Encoding Variational Bayes, ICLR 2014, eq. 7.
        Bowman et al., Generating Sentences from a Continuous Space, CoNLL 2016 (KL annealing).
        Burda et al., Importance Weighted Autoencoders, ICLR 2016, eq. 8.
        Higgins et al., beta-VAE: Learning Basic Visual Concepts with a Constrained Variational Framework, ICLR 2017.
    """

    loss_floor = None
    shapes = "(B, ...) -> ()"

    monitor = "elbo"
    required_model_methods: ClassVar[tuple[str, ...]] = ("encode", "decode")
    row_options = ("start", "end")
    progress_options = ("beta_warmup",)

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
        self.likelihood = make_likelihood(likelihood, self._latent_model.levels, binarize)
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
            is_outside = ~((x >= low - ROUNDING_TOLERANCE) & (x <= high + ROUNDING_TOLERANCE)).flatten(1).all(1)
            if is_outside.any():
                row = int(is_outside.nonzero()[0])
                raise ConfigError(
                    f"task.likelihood: {self.likelihood_name} needs values in [{low:g}, {high:g}]; row {row} of the"
                    f" {name} split has {x[row].min():g} to {x[row].max():g} (gaussian accepts any value)"
                )

    def estimate_elbo_terms(self, batch: Batch, samples: int, noise: Tensor | None = None) -> ElboTerms:
        """Return estimates of the ELBO terms, computed sample by sample to limit memory.

        Args:
            batch: Batch of B rows.
            samples: Number of posterior samples per row.
            noise: Noise (samples, latent) that all rows share; None draws other noise for each row.
        """
        x, label = self._get_decoder_target(batch), self.get_labels(batch)
        mean, log_variance = (values.float() for values in self._latent_model.encode(x, label))
        sigma = torch.exp(log_variance / 2)
        log_likelihoods, log_weights = [], []
        for sample in range(samples):
            epsilon = torch.randn_like(mean) if noise is None else noise[sample].to(mean)
            z = mean + sigma * epsilon
            log_likelihood = self.likelihood(self.decode_latent(z, label), x.flatten(1))
            # log p(z) - log q(z|x); the normalization constants of the two Gaussians cancel.
            log_ratio = (epsilon.square() + log_variance - z.square()).sum(1) / 2
            log_likelihoods.append(log_likelihood)
            log_weights.append(log_likelihood + log_ratio)
        kl = standard_normal_kl(mean, log_variance)
        bound = torch.stack(log_weights).logsumexp(0) - math.log(samples)
        return ElboTerms(-torch.stack(log_likelihoods).mean(0), kl, bound)

    def decode_latent(self, z: Tensor, label: Tensor | None) -> Tensor:
        """Return the parameters (B, D * levels) of the likelihood.

        Args:
            z: Latents (B, latent).
            label: Labels (B,); None for an unconditional model.
        """
        return self._latent_model.decode(z, label).float()

    def compute_kl_weight(self) -> Tensor | float:
        """Return the weight of the KL term at the current training progress."""
        return self.beta * (self.progress / self.beta_warmup).clamp(max=1.0) if self.beta_warmup else self.beta

    def loss(self, batch: Batch, group: str) -> Tensor:
        terms = self.estimate_elbo_terms(batch, 1)
        return (terms.reconstruction + self.compute_kl_weight() * terms.kl).mean()

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        noise = draw_score_noise(self.eval_samples, self.latent)
        return self.estimate_elbo_terms(batch, len(noise), noise).name_scores()

    def score(self, batch: Batch) -> Score:
        scores = self.estimate_elbo_terms(batch, self.eval_samples).name_scores()
        if self.info.density.log_likelihood is not None:
            scores["gap"] = self.info.density.log_likelihood(batch.inputs["x"]) - scores["elbo"]
        sums: Score = {name: to_double(value).sum() for name, value in scores.items()}
        sums["count"] = torch.tensor(len(batch), device=self.progress.device)
        return self.collect_real_rows(batch) | sums

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        names = ("elbo", "iw_bound", "gap", "reconstruction", "kl")
        scores = {name: float(totals[name] / totals["count"]) for name in names if name in totals}
        return scores | self.compute_bits_per_dim(scores["elbo"]) | self.compare_samples(totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return -scores["elbo"] if self.beta == 1 else None

    def compute_bits_per_dim(self, nats: float) -> dict[str, float]:
        """Return ``bits_per_dim`` of a log-likelihood in nats per row; nothing for continuous likelihoods."""
        return {"bits_per_dim": -nats / (math.prod(self.shape) * math.log(2))} if self.likelihood.is_discrete else {}

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Add the ELBO of a decoder without latent variables, or the baseline reported by the data set."""
        baseline, best = super().reference_scores()
        nats = self.info.baseline.get("elbo") or self.unconditional_log_prob()
        return baseline | {"elbo": nats, "iw_bound": nats} | self.compute_bits_per_dim(nats), best

    def unconditional_log_prob(self) -> float:
        """Return the mean log-likelihood of test rows under a decoder with constant output, fitted to training rows."""
        data, device = self.sample_metrics.data, self.progress.device
        train = self._get_decoder_target(load_subsample(data.train, MAX_BASELINE_ROWS).to(device))
        test = self._get_decoder_target(load_subsample(data.test, MAX_BASELINE_ROWS).to(device))
        return float(to_double(self.likelihood.unconditional_log_prob(train.flatten(1), test.flatten(1))).mean())

    def _get_decoder_target(self, batch: Batch) -> Tensor:
        """Return the rows x (B, ...) as the likelihood models them."""
        return self.likelihood.discretize_input(self.normalize(batch))

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        z = torch.randn(count, self.latent, device=self.progress.device)
        params = self.decode_latent(z, label)
        return self.likelihood.compute_mean(params) if self.is_image_data else self.likelihood.draw(params)

    def draw_noise(self, count: int) -> dict[str, Tensor]:
        noise = {"noise": torch.randn(count, self.latent, device=self.progress.device)}
        if not self.is_image_data:
            noise["value_noise"] = self.likelihood.draw_noise(noise["noise"].new_empty(count, math.prod(self.shape)))
        return noise

    def transform_noise(self, noise: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        params = self.decode_latent(noise["noise"], label)
        if self.is_image_data:
            return self.likelihood.compute_mean(params)
        return self.likelihood.transform_noise(params, noise["value_noise"])

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        if not self.is_image_data:
            return
        batch = next(iter(batches))
        if len(batch) > 1:
            yield LazyArtifact("reconstructions", lambda: self._plot_reconstructions(batch))
            yield LazyArtifact("interpolations", lambda: self._plot_interpolations(batch))

    @torch.no_grad()
    def _plot_reconstructions(self, batch: Batch) -> Artifact:
        """Plot images above their reconstructions."""
        z, label = self.encode_mean(batch)
        real = batch.inputs["x"][:MAX_RECONSTRUCTIONS]
        reconstructions = self.decode_mean(z, label)[:MAX_RECONSTRUCTIONS]
        captions = [caption_row(self.row_names, row) for row in batch.index[:MAX_RECONSTRUCTIONS].tolist()]
        captions += ["reconstructed"] * len(real)
        images = self.to_unit_range(torch.cat((real, reconstructions)))
        tiles = [ImageTile(x, caption, bounds=self.display_bounds) for x, caption in zip(images, captions, strict=True)]
        return ImageGrid("reconstructions", tiles, len(real))

    @torch.no_grad()
    def _plot_interpolations(self, batch: Batch) -> Artifact:
        """Plot interpolations between pairs of images, one pair per row."""
        z, label = self.encode_mean(batch)
        num_pairs = min(MAX_RECONSTRUCTIONS, len(batch)) // 2
        paths = []
        for row in range(num_pairs):
            pair = torch.tensor([row, row + num_pairs])
            paths.append(self.interpolate(z[pair], None if label is None else label[pair], INTERPOLATION_STEPS))
        tiles = [ImageTile(x, "", bounds=self.display_bounds) for x in self.to_unit_range(torch.cat(paths))]
        return ImageGrid("interpolations", tiles, INTERPOLATION_STEPS)

    def sample(
        self,
        count: PositiveInt = 64,
        label: NonNegativeInt | None = None,
        seed: NonNegativeInt = 0,
        start: NonNegativeInt | None = None,
        end: NonNegativeInt | None = None,
    ) -> Iterator[str | Artifact]:
        """Yield generated rows, or an interpolation between two test rows.

        Args:
            count: Number of rows, or steps of the interpolation.
            label: Class to generate; None cycles through all classes.
            seed: Random seed.
            start: Number of the first test row of an interpolation.
            end: Number of the last test row of an interpolation.

        Raises:
            ConfigError: Only one of ``start`` and ``end`` is given, one is not a test row, or a label is given too.
        """
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
            z, labels = self.encode_mean(batch)
            yield from self.to_artifacts(self.interpolate(z, labels, count), f"interpolation-{start}-{end}")

    def encode_mean(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Return the posterior means (B, latent) of a batch, and the labels (B,) of a class-conditional model."""
        label = self.get_labels(batch)
        mean, _ = self._latent_model.encode(self._get_decoder_target(batch), label)
        return mean.float(), label

    def decode_mean(self, z: Tensor, label: Tensor | None) -> Tensor:
        """Return the means (B, ...) of the likelihood, in the range of the data.

        Args:
            z: Latents (B, latent).
            label: Labels (B,); None for an unconditional model.
        """
        return self.denormalize(self.likelihood.compute_mean(self.decode_latent(z, label)))

    def interpolate(self, endpoints: Tensor, label: Tensor | None, steps: int) -> Tensor:
        """Return decoded rows (steps, ...) of a linear interpolation between two latents.

        Args:
            endpoints: Latents (2, latent).
            label: Labels (2,) of the endpoints; each step has that of the nearer one. None for an unconditional model.
            steps: Number of rows, including the endpoints.
        """
        t = torch.linspace(0, 1, steps, device=endpoints.device)
        labels = None if label is None else label[(t > 0.5).long()]
        return self.decode_mean(torch.lerp(endpoints[0], endpoints[1], t[:, None]), labels)
