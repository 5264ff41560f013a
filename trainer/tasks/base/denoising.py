"""What tasks share whose model learns to tell noise from data, at every share of the one and the other."""

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
"""Times at which a row is rated, and at which the error of a Gaussian is taken."""


class DenoisingOptions(GenerativeOptions, total=False):
    """The configuration they share beside: how samples are drawn, and what is withheld in training."""

    steps: PositiveInt
    guidance: NonNegativeFloat
    label_dropout: Probability


class Denoising(Generative):
    """Shows its model ``a x + b e``, e normal, and asks for what ``prediction`` says: the mean squared error.

    The validation error chooses the best weights: it is the loss on rows not trained on, it costs one pass, and with
    the same noise at the same times each time it tells small steps apart, which samples do not. Classes are dropped
    from a share ``label_dropout`` of the training rows. Samples follow ``null + guidance (told - null)``, of what the
    model says without and with the class (Ho and Salimans 2022, whose w is guidance - 1): 1 is the class as it is, 0
    none, and more than 1 exaggerates it.
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
    """Samplers that take every step there is, however many are asked for."""

    def __init__(self, model: nn.Module, prediction: str, sampler: str, **options: Unpack[DenoisingOptions]):
        options = self.option_defaults | options
        super().__init__(model, options["samples"], options["classifier"], options.get("scores", ()))
        self.prediction = prediction
        self.sampler = sampler
        self.steps = options["steps"]
        self.guidance = options["guidance"]
        self.label_dropout = options["label_dropout"]

    @abstractmethod
    def alpha_sigma(self, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Shares of data and of noise and the time, (B,) each, at places (B,) in [0, 1) of the way between them."""

    def add_noise(self, x: Tensor, place: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rows x (B, ...) with fresh noise at places (B,), their times (B,), and what should be said of them."""
        e = torch.randn_like(x)
        *shares, time = self.alpha_sigma(place)
        a, b = (share.view(-1, *[1] * (x.dim() - 1)) for share in shares)
        return a * x + b * e, time, diffusion_process.compute_target(self.prediction, x, e, a, b)

    def predict(self, x: Tensor, time: Tensor, label: Tensor | None) -> Tensor:
        """What the model says of x (B, ...) at times (B,), of classes (B,)."""
        return (self.model(x, time) if label is None else self.model(x, time, label)).float()

    def select_model_inputs(self, batch: Batch) -> dict[str, Tensor]:
        """The rows half way to noise: what the model is shown where one looks into it."""
        x, label = self.normalize(batch), self.get_labels(batch)
        shown, time, _ = self.add_noise(x, torch.full((len(x),), 0.5, device=x.device))
        return {"x": shown, "time": time} | ({} if label is None else {"label": label})

    def compute_errors(self, x: Tensor, label: Tensor | None, place: Tensor) -> Tensor:
        """The squared error (B,), a mean over the numbers of each row x (B, ...)."""
        shown, time, right = self.add_noise(x, place)
        return (self.predict(shown, time, label) - right).square().flatten(1).mean(1)

    def loss(self, batch: Batch, player: str) -> Tensor:
        x, label = self.normalize(batch), self.get_labels(batch)
        if label is not None:
            is_dropped = torch.rand(len(x), device=x.device) < self.label_dropout
            label = label.masked_fill(is_dropped, self.null_label)
        return self.compute_errors(x, label, torch.rand(len(x), device=x.device)).mean()

    @property
    def null_label(self) -> int:
        """The number of the class that stands for any."""
        assert self.num_classes is not None
        return self.num_classes

    def score(self, batch: Batch) -> Score:
        """At places that are evenly spread over the rows."""
        x = self.normalize(batch)
        place = (torch.randperm(len(x), device=x.device) + 0.5) / len(x)
        error = to_double(self.compute_errors(x, self.get_labels(batch), place)).sum()
        return self.collect_real_rows(batch) | {"error": error, "rows": torch.tensor(len(x), device=x.device)}

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        return {"loss": float(totals["error"] / totals["rows"])} | self.compare_samples(totals)

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        """The error of each row, a mean over even places."""
        x, label = self.normalize(batch), self.get_labels(batch)
        places = (torch.arange(NUM_SCORE_TIMES, device=x.device) + 0.5) / NUM_SCORE_TIMES
        return {"loss": torch.stack([self.compute_errors(x, label, place.expand(len(x))) for place in places]).mean(0)}

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        baseline, best = super().reference_scores()
        return baseline | {"loss": self.compute_gaussian_baseline()}, best

    def compute_gaussian_baseline(self) -> float:
        """The error of the best denoiser of one Gaussian fitted to the training rows, a mean over even places.

        Along an axis on which they have variance s it is ``s (q b - p a)^2 / (a^2 s + b^2)``.
        """
        seen = self.sample_metrics.get_training_rows().to(self.progress.device).view(-1, *self.shape)
        x = to_double(self.normalize(Batch({"x": seen}, None, torch.arange(len(seen)))).flatten(1))
        variance = (
            x.var(0)
            if x.shape[1] > MAX_COVARIANCE_FEATURES
            else torch.linalg.eigvalsh(x.T.cov().reshape(x.shape[1], -1))
        )
        place = (torch.arange(NUM_BASELINE_TIMES, device=x.device) + 0.5) / NUM_BASELINE_TIMES
        a, b, _ = (share[:, None] for share in self.alpha_sigma(place))
        p, q = diffusion_process.PREDICTION_COEFFICIENTS[self.prediction](a, b)
        return float((variance * (q * b - p * a) ** 2 / (a**2 * variance + b**2)).mean())

    def predict_with_guidance(self, x: Tensor, time: float, label: Tensor | None) -> Tensor:
        """What the model says of x (B, ...) at a time where the classes are exaggerated by ``guidance``."""
        times = torch.full((len(x),), time, device=x.device)
        if label is None or self.guidance in (0.0, 1.0):
            return self.predict(x, times, label if self.guidance else None)
        if not self.label_dropout:
            raise ConfigError(
                f"task.guidance: {self.guidance:g} needs a model that also learned without classes: label_dropout"
            )
        both = torch.cat((torch.full_like(label, self.null_label), label))
        null, told = self.predict(torch.cat((x, x)), times.repeat(2), both).chunk(2)
        return torch.lerp(null, told, self.guidance)

    def sample(
        self,
        count: PositiveInt = 64,
        label: NonNegativeInt | None = None,
        seed: NonNegativeInt = 0,
        steps: PositiveInt | None = None,
        guidance: NonNegativeFloat | None = None,
        sampler: str | None = None,
    ) -> Iterator[str | Artifact]:
        """New rows, by this sampler, in so many steps, with so much guidance; what is not said is as in training."""
        if sampler is not None and sampler not in self.samplers:
            raise ConfigError(f"sample sampler: {sampler!r} given; it must be one of {', '.join(self.samplers)}")
        if steps is not None and (sampler or self.sampler) in self.full_step_samplers:
            raise ConfigError(f"sample steps: {steps} given; {sampler or self.sampler} takes every step there is")
        if guidance is not None and self.num_classes is None:
            raise ConfigError(f"sample guidance: {guidance:g} given; the model of this run is told no classes")
        self.sampler = sampler or self.sampler
        self.steps = steps or self.steps
        self.guidance = self.guidance if guidance is None else guidance
        yield from super().sample(count, label, seed)
