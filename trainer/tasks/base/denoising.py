"""Base class of diffusion and flow matching tasks."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import ClassVar, Unpack

import torch
from torch import Tensor, nn

from trainer.core.artifacts import Artifact
from trainer.core.batch import Batch, Score
from trainer.core.types import NonNegativeFloat, NonNegativeInt, PositiveInt, Probability
from trainer.metrics.double_precision import to_double
from trainer.metrics.gaussian import MAX_COVARIANCE_FEATURES
from trainer.tasks.base import diffusion_process
from trainer.tasks.base.generative import Generative, GenerativeOptions, draw_score_noise
from trainer.utils.choices import get_choice
from trainer.utils.errors import ConfigError

NUM_SCORE_TIMES, NUM_BASELINE_TIMES = 10, 100
"""Number of times t over which the score of a row and the Gaussian baseline are averaged."""


class DenoisingOptions(GenerativeOptions, total=False):
    """Options of all denoising tasks.

    Attributes:
        steps: Number of sampling steps.
        guidance: Scale of classifier-free guidance.
        label_dropout: Probability of dropping a label in training.
    """

    steps: PositiveInt
    guidance: NonNegativeFloat
    label_dropout: Probability


class Denoising(Generative):
    """Base class of tasks whose model predicts from noisy rows ``x_t = a x + b e`` with Gaussian noise e.

    The loss is the mean squared error of the prediction, averaged over times t. The validation loss selects the best
    weights: it needs one pass, and with fixed noise and times it resolves small improvements, which sample metrics do
    not.

    Samples use classifier-free guidance ``uncond + guidance (cond - uncond)``, where uncond and cond are the model
    outputs without and with the label; the w of the paper is guidance - 1. Guidance 1 is plain conditional sampling, 0
    is unconditional sampling, and larger values emphasize the class.

    Args:
        model: Model of x_t (B, ...), the time (B,) and, if it is class-conditional, labels (B,).
        prediction: Output of the model, a key of ``diffusion_process.PREDICTION_COEFFICIENTS``.
        sampler: Sampler or ODE solver, one of ``samplers``.
        options: Options of all denoising tasks, see ``DenoisingOptions``.

    References:
        Ho and Salimans, Classifier-Free Diffusion Guidance, 2022.
    """

    option_defaults: ClassVar[DenoisingOptions] = {
        "samples": 2000,
        "classifier": "auto",
        "scores": [],
        "steps": 20,
        "guidance": 1.0,
        "label_dropout": 0.1,
    }
    monitor = "loss"
    extra_model_inputs: ClassVar[tuple[str, ...]] = ("time",)
    samplers: ClassVar[tuple[str, ...]]
    full_step_samplers: ClassVar[tuple[str, ...]] = ()
    """Samplers that use all timesteps and ignore ``steps``."""

    def __init__(self, model: nn.Module, prediction: str, sampler: str, **options: Unpack[DenoisingOptions]):
        options = self.option_defaults | options
        super().__init__(model, options["samples"], options["classifier"], options.get("scores", ()))
        get_choice("prediction", prediction, diffusion_process.PREDICTION_COEFFICIENTS)  # raises for an unknown one
        self.prediction = prediction
        self.sampler = sampler
        self.steps = options["steps"]
        self.guidance = options["guidance"]
        self.label_dropout = options["label_dropout"]

    @abstractmethod
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the signal scale a, the noise scale b and the time input of the model, (B,) each.

        Args:
            t: Times (B,) in [0, 1), uniform in training.
        """

    def add_noise(self, x: Tensor, t: Tensor, noise: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy rows (B, ...), the time inputs (B,) of the model and the prediction targets (B, ...).

        Args:
            x: Rows (B, ...) in the range of the model.
            t: Times (B,) in [0, 1).
            noise: Noise (1, ...), the same for all rows; None draws other noise for each row.
        """
        noise = torch.randn_like(x) if noise is None else noise.to(x).expand_as(x)
        alpha, sigma, time = self.alpha_sigma(t)
        shape = (-1, *[1] * (x.dim() - 1))
        a, b = alpha.view(shape), sigma.view(shape)
        return a * x + b * noise, time, diffusion_process.compute_target(self.prediction, x, noise, a, b)

    def predict_target(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        """Return the model output (B, ...).

        Args:
            x: Noisy rows (B, ...).
            time: Time inputs (B,).
            label: Labels (B,); None for an unconditional model.
        """
        return (self.model(x, time) if label is None else self.model(x, time, label)).float()

    def select_model_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the model inputs at time 0.5, for the model summary and feature maps."""
        x, label = self.normalize(batch), self.get_labels(batch)
        x_t, time, _ = self.add_noise(x, torch.full((len(x),), 0.5, device=x.device))
        inputs = {"x": x_t, "time": time}
        return inputs if label is None else inputs | {"label": label}

    def compute_errors(self, x: Tensor, label: Tensor | None, t: Tensor, noise: Tensor | None = None) -> Tensor:
        """Return the mean squared error of the prediction for each row, (B,).

        Args:
            x: Rows (B, ...) in the range of the model.
            label: Labels (B,); None for an unconditional model.
            t: Times (B,) in [0, 1).
            noise: Noise (1, ...), the same for all rows; None draws other noise for each row.
        """
        x_t, time, target = self.add_noise(x, t, noise)
        return (self.predict_target(x_t, time, label) - target).square().flatten(1).mean(1)

    def loss(self, batch: Batch, group: str) -> Tensor:
        x, label = self.normalize(batch), self.get_labels(batch)
        if label is not None:
            is_unlabeled = torch.rand(len(x), device=x.device) < self.label_dropout
            label = label.masked_fill(is_unlabeled, self.null_label)
        return self.compute_errors(x, label, torch.rand(len(x), device=x.device)).mean()

    @property
    def null_label(self) -> int:
        """Label of the null class, which replaces dropped labels."""
        assert self.num_classes is not None
        return self.num_classes

    def score(self, batch: Batch) -> Score:
        """Return the summed errors, with times evenly spaced over the rows of the batch."""
        x = self.normalize(batch)
        t = (torch.randperm(len(x), device=x.device) + 0.5) / len(x)
        error = to_double(self.compute_errors(x, self.get_labels(batch), t)).sum()
        return self.collect_real_rows(batch) | {"error": error, "rows": torch.tensor(len(x), device=x.device)}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": float(totals["error"] / totals["rows"])} | self.compare_samples(totals)

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error of each row (B,), averaged over evenly spaced times.

        The noise of a time is the same for all rows, so that a row scores alike in every batch.
        """
        x, label = self.normalize(batch), self.get_labels(batch)
        times = (torch.arange(NUM_SCORE_TIMES, device=x.device) + 0.5) / NUM_SCORE_TIMES
        noise = draw_score_noise(NUM_SCORE_TIMES, 1, *x.shape[1:])
        errors = [self.compute_errors(x, label, t.expand(len(x)), e) for t, e in zip(times, noise, strict=True)]
        return {"loss": torch.stack(errors).mean(0)}

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        baseline, best = super().reference_scores()
        return baseline | {"loss": self.compute_gaussian_baseline()}, best

    def compute_gaussian_baseline(self) -> float:
        """Return the error of the optimal denoiser for a Gaussian fitted to the training rows.

        It is averaged over evenly spaced times. Along a principal axis with variance s it is ``s (q b - p a)^2 / (a^2 s
        + b^2)``, with p and q of ``PREDICTION_COEFFICIENTS``.
        """
        train = self.sample_metrics.get_training_rows().to(self.progress.device).view(-1, *self.shape)
        x = to_double(self.normalize(Batch({"x": train}, None, torch.arange(len(train)))).flatten(1))
        if x.shape[1] > MAX_COVARIANCE_FEATURES:
            variance = x.var(0)
        else:
            variance = torch.linalg.eigvalsh(x.T.cov().reshape(x.shape[1], -1))
        t = (torch.arange(NUM_BASELINE_TIMES, device=x.device) + 0.5) / NUM_BASELINE_TIMES
        alpha, sigma, _ = self.alpha_sigma(t)
        a, b = alpha[:, None], sigma[:, None]
        p, q = diffusion_process.PREDICTION_COEFFICIENTS[self.prediction](a, b)
        return float((variance * (q * b - p * a) ** 2 / (a**2 * variance + b**2)).mean())

    def predict_with_guidance(self, x: Tensor, time: Tensor | float, label: Tensor | None) -> Tensor:
        """Return the model output (B, ...) with classifier-free guidance.

        Args:
            x: Noisy rows (B, ...).
            time: Time input, the same for all rows: a number or a scalar tensor.
            label: Labels (B,); None for an unconditional model.

        Raises:
            ConfigError: Guidance needs unconditional outputs, but no labels were dropped in training.
        """
        times = torch.as_tensor(time, dtype=torch.float32, device=x.device).expand(x.shape[0])
        if label is None or self.guidance in (0.0, 1.0):
            return self.predict_target(x, times, label if self.guidance else None)
        if not self.label_dropout:
            raise ConfigError(f"task.guidance: {self.guidance:g} needs a model trained with task.label_dropout > 0")
        labels = torch.cat((torch.full_like(label, self.null_label), label))
        uncond, cond = self.predict_target(torch.cat((x, x)), times.repeat(2), labels).chunk(2)
        return torch.lerp(uncond, cond, self.guidance)

    def sample(
        self,
        count: PositiveInt = 64,
        label: NonNegativeInt | None = None,
        seed: NonNegativeInt = 0,
        steps: PositiveInt | None = None,
        guidance: NonNegativeFloat | None = None,
        sampler: str | None = None,
    ) -> Iterator[str | Artifact]:
        """Yield generated rows as a figure, and as an array or a table.

        Args:
            count: Number of rows.
            label: Class to generate; None cycles through all classes.
            seed: Random seed.
            steps: Number of sampling steps; None for that of the run.
            guidance: Scale of classifier-free guidance; None for that of the run.
            sampler: Sampler; None for that of the run.

        Raises:
            ConfigError: The sampler is unknown, or an option does not apply to the sampler or the model.
        """
        if sampler is not None and sampler not in self.samplers:
            raise ConfigError(f"sample sampler: {sampler!r} given; it must be one of {', '.join(self.samplers)}")
        if steps is not None and (sampler or self.sampler) in self.full_step_samplers:
            raise ConfigError(f"sample steps: {steps} given; {sampler or self.sampler} always uses all timesteps")
        if guidance is not None and self.num_classes is None:
            raise ConfigError(f"sample guidance: {guidance:g} given; the model of this run is unconditional")
        self.sampler = sampler or self.sampler
        self.steps = steps or self.steps
        self.guidance = self.guidance if guidance is None else guidance
        yield from super().sample(count, label, seed)
