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
from trainer.metrics.sample_quality import MAX_COVARIANCE_FEATURES
from trainer.tasks.base import diffusion_process
from trainer.tasks.base.generative import Generative, GenerativeOptions
from trainer.utils.errors import ConfigError

NUM_SCORE_TIMES, NUM_BASELINE_TIMES = 10, 100
"""Noise levels over which the score of a row and the Gaussian baseline are averaged."""


class DenoisingOptions(GenerativeOptions, total=False):
    """Options shared by denoising tasks: sampling steps, guidance and label dropout."""

    steps: PositiveInt
    guidance: NonNegativeFloat
    label_dropout: Probability


class Denoising(Generative):
    """Denoising task on noisy rows ``a x + b e`` with Gaussian e; the loss is the mean squared error of ``prediction``.

    The validation loss selects the best weights: it uses rows not trained on and costs one pass, and with fixed noise
    and times it resolves small improvements, which sample metrics do not.

    Samples use classifier-free guidance ``uncond + guidance (cond - uncond)``, where uncond and cond are the model
    outputs without and with the label; the w of the paper is guidance - 1. Guidance 1 is plain conditional sampling, 0
    unconditional, above 1 emphasizes the class.

    Args:
        prediction: target of the model, see ``diffusion_process.PREDICTION_COEFFICIENTS``.
        sampler: sampler or ODE solver.
        options: ``steps`` of sampling, ``label_dropout``: fraction of training rows whose label is dropped.

    References:
        Ho and Salimans 2022, Classifier-Free Diffusion Guidance
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
    """Samplers that always use all timesteps."""

    def __init__(self, model: nn.Module, prediction: str, sampler: str, **options: Unpack[DenoisingOptions]):
        options = self.option_defaults | options
        super().__init__(model, options["samples"], options["classifier"], options.get("scores", ()))
        self.prediction = prediction
        self.sampler = sampler
        self.steps = options["steps"]
        self.guidance = options["guidance"]
        self.label_dropout = options["label_dropout"]

    @abstractmethod
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return signal scale, noise scale and model time, (B,) each, at noise levels ``t`` (B,) in [0, 1)."""

    def add_noise(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return noisy rows (B, ...), their times (B,) and the prediction targets at noise levels ``t`` (B,)."""
        noise = torch.randn_like(x)
        alpha, sigma, time = self.alpha_sigma(t)
        shape = (-1, *[1] * (x.dim() - 1))
        a, b = alpha.view(shape), sigma.view(shape)
        return a * x + b * noise, time, diffusion_process.compute_target(self.prediction, x, noise, a, b)

    def predict(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        """Return the model output for noisy x (B, ...) at times (B,), given labels (B,) or none."""
        return (self.model(x, time) if label is None else self.model(x, time, label)).float()

    def select_model_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """Return the model inputs of rows at noise level 0.5, for model inspection."""
        x, label = self.normalize(batch), self.get_labels(batch)
        x_t, time, _ = self.add_noise(x, torch.full((len(x),), 0.5, device=x.device))
        inputs = {"x": x_t, "time": time}
        return inputs if label is None else inputs | {"label": label}

    def compute_errors(self, x: Tensor, label: Tensor | None, t: Tensor) -> Tensor:
        """Return the mean squared error of each row x (B, ...), (B,)."""
        x_t, time, target = self.add_noise(x, t)
        return (self.predict(x_t, time, label) - target).square().flatten(1).mean(1)

    def loss(self, batch: Batch, group: str) -> Tensor:
        x, label = self.normalize(batch), self.get_labels(batch)
        if label is not None:
            is_unlabeled = torch.rand(len(x), device=x.device) < self.label_dropout
            label = label.masked_fill(is_unlabeled, self.null_label)
        return self.compute_errors(x, label, torch.rand(len(x), device=x.device)).mean()

    @property
    def null_label(self) -> int:
        """Label of the null class, which stands for any class."""
        assert self.num_classes is not None
        return self.num_classes

    def score(self, batch: Batch) -> Score:
        """Sum the errors at noise levels evenly spaced over the rows."""
        x = self.normalize(batch)
        t = (torch.randperm(len(x), device=x.device) + 0.5) / len(x)
        error = to_double(self.compute_errors(x, self.get_labels(batch), t)).sum()
        return self.collect_real_rows(batch) | {"error": error, "rows": torch.tensor(len(x), device=x.device)}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": float(totals["error"] / totals["rows"])} | self.compare_samples(totals)

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """Return the error of each row, averaged over evenly spaced noise levels."""
        x, label = self.normalize(batch), self.get_labels(batch)
        times = (torch.arange(NUM_SCORE_TIMES, device=x.device) + 0.5) / NUM_SCORE_TIMES
        errors = [self.compute_errors(x, label, t.expand(len(x))) for t in times]
        return {"loss": torch.stack(errors).mean(0)}

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        baseline, best = super().reference_scores()
        return baseline | {"loss": self.compute_gaussian_baseline()}, best

    def compute_gaussian_baseline(self) -> float:
        """Compute the error of the optimal denoiser of a Gaussian fitted to the training rows.

        It is averaged over evenly spaced noise levels. Along an axis with variance s it is ``s (q b - p a)^2 / (a^2 s +
        b^2)``.
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

    def predict_with_guidance(self, x: Tensor, time: float, label: Tensor | None) -> Tensor:
        """Return the model output for x (B, ...) at a time, with classifier-free guidance."""
        times = torch.full((len(x),), time, device=x.device)
        if label is None or self.guidance in (0.0, 1.0):
            return self.predict(x, times, label if self.guidance else None)
        if not self.label_dropout:
            raise ConfigError(f"task.guidance: {self.guidance:g} needs a model trained with task.label_dropout > 0")
        labels = torch.cat((torch.full_like(label, self.null_label), label))
        uncond, cond = self.predict(torch.cat((x, x)), times.repeat(2), labels).chunk(2)
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
        """Generate samples; arguments that are None keep the values of the training configuration."""
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
