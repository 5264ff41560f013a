"""Density estimation by exact maximum likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar, Unpack, cast

import torch
from torch import Tensor, nn

from trainer.core.batch import Batch, Score
from trainer.core.dataset import Dataset
from trainer.data.splits.pixel_scale import NUM_LEVELS
from trainer.metrics.double_precision import to_double
from trainer.metrics.gaussian import gaussian_log_prob
from trainer.tasks.base.generative import Generative, GenerativeOptions
from trainer.tasks.base.model_protocols import NormalizingFlow
from trainer.tasks.evaluation.sample_metrics import load_subsample

MAX_ROWS = 10_000
"""Training rows used to estimate the quantization steps."""


class Density(Generative):
    """Maximum likelihood with uniform dequantization: the loss is the mean of ``-log p(x + step u)``, u in [-1/2, 1/2].

    ``step`` is the median difference between neighboring values of a feature: 1 for counts and binary features, whose
    likelihood would be unbounded without noise, and close to 0 for continuous features. For pixels it is one of 256
    levels, so that ``bits_per_dim``, ``-log p(x) / (D log 2)`` of pixel values from 0 to 255, is comparable with
    published results.

    ``log_likelihood`` is in nats per row; ``gap`` is its distance to the exact log-likelihood, if the data set reports
    it. ``train score`` adds no noise to the rows.

    Args:
        model: Model with ``log p(x)`` (B,) as output, and a method ``generate``.
        options: Options of all generative tasks, see ``GenerativeOptions``.

    References:
        Uria et al., RNADE: The Real-Valued Neural Autoregressive Density-Estimator, NeurIPS 2013 (dequantization).
        Theis et al., A Note on the Evaluation of Generative Models, ICLR 2016.
    """

    loss_floor = None
    shapes = "(B) -> ()"

    monitor = "log_likelihood"
    required_model_methods: ClassVar[tuple[str, ...]] = ("forward", "generate")

    step: Tensor

    def __init__(self, model: nn.Module, **options: Unpack[GenerativeOptions]):
        super().__init__(model, **options)
        self.register_buffer("step", torch.zeros(()), persistent=False)

    def setup(self, data: Dataset) -> None:
        super().setup(data)
        if self.is_scaled:
            low_value, high_value = self.value_range
            self.step = torch.full(self.shape, (high_value - low_value) / (NUM_LEVELS - 1))
        else:
            self.step = estimate_quantization_steps(load_subsample(data.train, MAX_ROWS).inputs["x"])

    def dequantize(self, batch: Batch) -> Tensor:
        """Return the rows (B, ...) in the range of the model, with uniform noise as wide as the quantization steps."""
        x = self.normalize(batch)
        return x + self.step * (torch.rand_like(x) - 0.5)

    def log_prob(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Return the log-likelihoods (B,) in nats.

        Args:
            x: Rows (B, ...) in the range of the model.
            label: Labels (B,) to condition on; None for an unconditional model.
        """
        return (self.model(x) if label is None else self.model(x, label)).float()

    def loss(self, batch: Batch, group: str) -> Tensor:
        return -self.log_prob(self.dequantize(batch), self.get_labels(batch)).mean()

    def score(self, batch: Batch) -> Score:
        score = self.collect_real_rows(batch)
        score["log_prob"] = to_double(self.log_prob(self.dequantize(batch), self.get_labels(batch))).sum()
        if self.info.density.log_likelihood is not None:
            score["exact"] = to_double(self.info.density.log_likelihood(batch.inputs["x"])).sum()
        return score

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        count = len(totals["real"])
        scores = {"log_likelihood": float(totals["log_prob"]) / count}
        if "exact" in totals:
            scores["gap"] = float(totals["exact"] - totals["log_prob"]) / count
        if self.is_scaled:
            log_prob = scores["log_likelihood"] / self.step.numel() + math.log(float(self.step.flatten()[0]))
            scores["bits_per_dim"] = -log_prob / math.log(2)
        return scores | self.compare_samples(totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return -scores["log_likelihood"]

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Add the log-likelihood of a Gaussian fitted to the training rows (baseline) and the exact one (best)."""
        baseline, best = super().reference_scores()
        data, device = self.sample_metrics.data, self.progress.device
        train, test = load_subsample(data.train, MAX_ROWS).to(device), load_subsample(data.test, MAX_ROWS).to(device)
        train_rows = self.dequantize(train).flatten(1).cpu()
        test_rows = self.dequantize(test).flatten(1).cpu()
        baseline["log_likelihood"] = float(gaussian_log_prob(train_rows, test_rows).mean())
        if self.info.density.log_likelihood is not None:
            exact = float(self.info.density.log_likelihood(test.inputs["x"]).mean())
            best |= {"log_likelihood": exact, "gap": 0.0}
            baseline["gap"] = exact - baseline["log_likelihood"]
        return baseline, best

    @property
    def _flow(self) -> NormalizingFlow:
        return cast(NormalizingFlow, self.model)

    def draw_noise(self, count: int) -> dict[str, Tensor]:
        return {"noise": torch.randn(count, math.prod(self.shape), device=self.progress.device)}

    def transform_noise(self, noise: Mapping[str, Tensor], label: Tensor | None) -> Tensor:
        z = noise["noise"]
        return self._flow.generate(z) if label is None else self._flow.generate(z, label)

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        return {"log_likelihood": self.log_prob(self.normalize(batch), self.get_labels(batch))}


def estimate_quantization_steps(x: Tensor) -> Tensor:
    """Return the median difference between neighboring distinct values of each feature, (...); 1 for constant ones.

    Args:
        x: Rows (N, ...).
    """
    steps = torch.ones(x[0].shape).flatten()
    for feature, values in enumerate(x.flatten(1).unbind(1)):
        differences = values.unique().diff()
        if len(differences):
            steps[feature] = differences.median()
    return steps.view(x.shape[1:])
