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
from trainer.metrics import sample_quality
from trainer.metrics.double_precision import to_double
from trainer.tasks.base.generative import Generative, GenerativeOptions
from trainer.tasks.base.model_protocols import NormalizingFlow
from trainer.tasks.evaluation.sample_metrics import load_rows, subsample_indices

MAX_ROWS = 10_000
"""Training rows used to estimate the quantization steps."""


class Density(Generative):
    """Maximum likelihood with uniform dequantization: the loss is the mean of ``-log p(x + step u)``, u in [-1/2, 1/2].

    ``step`` is the median difference between neighboring values of a feature: 1 for counts and binary features, which
    as points would have infinite density, and close to 0 for continuous ones. For pixels it is one of 256 levels, so
    that ``bits_per_dim`` is comparable with published results. Rows are scored without noise. ``gap`` is the distance
    of ``log_likelihood``, in nats per row, to the exact one, if the data reports it.

    References:
        Uria et al. 2013, RNADE (dequantization).
        Theis et al. 2016, A Note on the Evaluation of Generative Models.
    """

    shapes = "(B) -> ()"

    monitor = "log_likelihood"
    required_model_methods: ClassVar[tuple[str, ...]] = ("forward", "generate")

    step: Tensor

    def __init__(self, model: nn.Module, **options: Unpack[GenerativeOptions]):
        super().__init__(model, **options)
        self.register_buffer("step", torch.zeros(()), persistent=False)

    def setup(self, data: Dataset) -> None:
        super().setup(data)
        black, white = self.value_range
        self.step = (
            torch.full(self.shape, (white - black) / (NUM_LEVELS - 1))
            if self.is_scaled
            else estimate_quantization_steps(
                load_rows(data.train, subsample_indices(len(data.train), MAX_ROWS)).inputs["x"]
            )
        )

    def dequantize(self, batch: Batch) -> Tensor:
        """Return the rows with uniform noise of the width of the quantization steps."""
        x = self.normalize(batch)
        return x + self.step * (torch.rand_like(x) - 0.5)

    def log_prob(self, x: Tensor, label: Tensor | None) -> Tensor:
        """Return ``log p(x)``, or ``log p(x | label)``, (B,)."""
        return (self.model(x) if label is None else self.model(x, label)).float()

    def loss(self, batch: Batch, player: str) -> Tensor:
        return -self.log_prob(self.dequantize(batch), self.get_labels(batch)).mean()

    def score(self, batch: Batch) -> Score:
        score = self.collect_real_rows(batch) | {
            "nats": to_double(self.log_prob(self.dequantize(batch), self.get_labels(batch))).sum()
        }
        if self.info.density.log_likelihood is not None:
            score["exact"] = to_double(self.info.density.log_likelihood(batch.inputs["x"])).sum()
        return score

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        count = len(totals["real"])
        scores = {"log_likelihood": float(totals["nats"]) / count}
        if "exact" in totals:
            scores["gap"] = float(totals["exact"] - totals["nats"]) / count
        if self.is_scaled:
            log_prob = scores["log_likelihood"] / self.step.numel() + math.log(float(self.step.flatten()[0]))
            scores["bits_per_dim"] = -log_prob / math.log(2)
        return scores | self.compare_samples(totals)

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        return -scores["log_likelihood"]

    def reference_scores(self) -> tuple[dict[str, float], dict[str, float]]:
        """Add the log-likelihood of a fitted Gaussian (baseline) and the exact one (best)."""
        baseline, best = super().reference_scores()
        parts = (
            load_rows(split, subsample_indices(len(split), MAX_ROWS))
            for split in (self.sample_metrics.data.train, self.sample_metrics.data.test)
        )
        train, test = (batch.to(self.progress.device) for batch in parts)
        gaussian = sample_quality.gaussian_log_prob(
            *(self.dequantize(batch).flatten(1).cpu() for batch in (train, test))
        )
        baseline["log_likelihood"] = float(gaussian.mean())
        if self.info.density.log_likelihood is not None:
            exact = float(self.info.density.log_likelihood(test.inputs["x"]).mean())
            best |= {"log_likelihood": exact, "gap": 0.0}
            baseline["gap"] = exact - baseline["log_likelihood"]
        return baseline, best

    @property
    def _flow(self) -> NormalizingFlow:
        return cast(NormalizingFlow, self.model)

    def draw(self, count: int, label: Tensor | None) -> Tensor:
        z = torch.randn(count, math.prod(self.shape), device=self.progress.device)
        return self._flow.generate(z) if label is None else self._flow.generate(z, label)

    def score_rows(self, batch: Batch) -> dict[str, Tensor]:
        return {"log_likelihood": self.log_prob(self.normalize(batch), self.get_labels(batch))}


def estimate_quantization_steps(x: Tensor) -> Tensor:
    """Return the median difference between neighboring values of each feature of rows (N, ...).

    Constant features have step 1.
    """
    steps = torch.ones(x[0].shape).flatten()
    for feature, values in enumerate(x.flatten(1).unbind(1)):
        differences = values.unique().diff()
        if len(differences):
            steps[feature] = differences.median()
    return steps.view(x.shape[1:])
