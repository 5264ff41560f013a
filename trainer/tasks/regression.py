"""Regression of values or forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.core.batch import Batch, RowValues, Score
from trainer.core.dataset import Dataset
from trainer.core.dataset_info import DatasetInfo
from trainer.core.inference_module import InferenceModule
from trainer.core.prediction import Prediction
from trainer.core.row_terms import MetricTerms
from trainer.core.types import Fraction, PluginMetric
from trainer.metrics.double_precision import to_double
from trainer.tasks.base.scored_task import ScoredTask
from trainer.tasks.evaluation import conformal, regression_plots, row_terms
from trainer.utils.choices import get_choice
from trainer.utils.errors import ConfigError
from trainer.utils.text import format_dtype

RESIDUAL_QUANTILE = "residual_quantile"
"""Name of the fitted quantile of absolute residuals, scaled like the targets."""
_LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.smooth_l1_loss}


class Regression(ScoredTask):
    """Regression of values or forecasts, with the loss averaged over all values.

    Predictions must have the shape of the targets; (B, 1) is not broadcast against (B,). Metrics are in the original
    units if the data set reports how its targets were scaled.

    Intervals are predictions plus or minus a quantile of the absolute residuals of the validation rows, one for each
    output, such as each step and channel of a forecast. They are fitted after training.

    Args:
        model: Model with predictions (B, ...).
        loss: ``mse``, ``mae``, or ``huber`` with threshold 1, each on scaled targets.
        coverage: Probability with which the interval of a prediction contains its target; null for no intervals.
        scores: Reported metrics; the first one selects the best weights.

    References:
        Huber, Robust Estimation of a Location Parameter, Annals of Mathematical Statistics 1964.
        Angelopoulos and Bates, A Gentle Introduction to Conformal Prediction, 2021 (intervals).
    """

    shapes = "(B, ...) -> (B, ...)"

    optional_scores = ("mse", "rmse", "mae", "r2")
    evaluation_scores = optional_scores
    scores_outputs = True

    def __init__(
        self,
        model: nn.Module,
        loss: Literal["mse", "mae", "huber"] = "mse",
        coverage: Fraction | None = None,
        scores: Sequence[Literal["mse", "rmse", "mae", "r2"] | PluginMetric] = optional_scores,
    ):
        super().__init__(model, scores)
        self._loss = get_choice("loss", loss, _LOSSES)
        self.loss_name = loss
        self.coverage = coverage
        self.output_shape = torch.Size()
        self.target_scale = 1.0
        self.info = DatasetInfo(sizes={})

    def setup(self, data: Dataset) -> None:
        self.info, self.target_scale = data.info, data.info.target.scale
        if self.coverage is not None:
            first = data.train.to_model_inputs(data.train.batch(torch.zeros(1, dtype=torch.long), 0))
            self.output_shape = first.require_target().shape[1:]

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None or not targets.is_floating_point():
            dtype = "none" if targets is None else format_dtype(targets.dtype)
            raise ConfigError(
                f"task: regression needs real targets; the {split} split has {dtype}"
                " (use task=classification for classes)"
            )
        is_nonfinite = ~targets.isfinite().reshape(len(targets), -1).all(1)
        if is_nonfinite.any():
            raise ConfigError(f"data: {split} targets must be finite; row {int(is_nonfinite.nonzero()[0])} is not")

    def num_loss_terms(self, batch: Batch) -> int:
        return batch.require_target().numel()

    def average_outputs(self, outputs: Tensor) -> Tensor:
        return outputs.mean(0)

    def predict(self, batch: Batch) -> Prediction:
        value = self.forward_batch(batch).float()
        if RESIDUAL_QUANTILE not in self.decisions:
            return {"value": value}
        wide = to_double(value)
        half_width = self.decisions[RESIDUAL_QUANTILE].to(wide)
        return {"value": value, "lower": wide - half_width, "upper": wide + half_width}

    def make_inference_module(self) -> InferenceModule:
        target = self.info.target
        mean, scale = target.moments
        outputs = {"kind": "numbers", "mean": mean, "scale": scale, "channels": list(target.channel_names)}
        decisions = {name: value.tolist() for name, value in self.decisions.items()}
        return replace(super().make_inference_module(), outputs={**outputs, **decisions})

    def predict_values(self, batch: Batch) -> Tensor:
        """Return the predictions (B, ...) of a batch, in the shape of the targets.

        Raises:
            ConfigError: The shapes differ.
        """
        prediction = self.forward_batch(batch)
        target = batch.require_target()
        if prediction.shape != target.shape:
            raise ConfigError(
                f"model: predictions {tuple(prediction.shape)} do not fit targets {tuple(target.shape)}:"
                " regression needs equal shapes"
            )
        return prediction

    def loss(self, batch: Batch, group: str) -> Tensor:
        return self._loss(self.predict_values(batch), batch.require_target())

    def score(self, batch: Batch) -> Score:
        target = to_double(batch.require_target())
        prediction = to_double(self.predict_values(batch))
        error = prediction - target
        score: Score = {
            "count": torch.tensor(target.numel(), device=target.device),
            "squared": error.square().sum(),
            "absolute": error.abs().sum(),
            "target": target.sum(),
            "target_squared": target.square().sum(),
        }
        if RESIDUAL_QUANTILE in self.decisions:
            score["covered"] = (error.abs() <= self.decisions[RESIDUAL_QUANTILE].to(error)).sum()
        mean = self.info.target.mean or 0.0
        return score | self.collect_rows(prediction * self.target_scale + mean, target * self.target_scale + mean)

    def collect_row_terms(self, batch: Batch) -> dict[str, MetricTerms]:
        error = to_double(self.predict_values(batch)) - to_double(batch.require_target())
        return row_terms.make_error_terms(error * self.target_scale)

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        count = totals["count"]
        mse = float(totals["squared"] / count) * self.target_scale**2
        total_variation = totals["target_squared"] - totals["target"] ** 2 / count
        scores = {
            "mse": mse,
            "rmse": mse**0.5,
            "mae": float(totals["absolute"] / count) * self.target_scale,
            "r2": float(1 - totals["squared"] / total_variation),
        }
        selected = self.select_scores(scores, totals)
        if "covered" in totals:
            width = 2 * float(self.decisions[RESIDUAL_QUANTILE].mean()) * self.target_scale
            selected |= {"coverage": float(totals["covered"]) / float(count), "interval_width": width}
        return selected

    def example_decisions(self) -> dict[str, Tensor]:
        shape = self.output_shape
        return {} if self.coverage is None else {RESIDUAL_QUANTILE: torch.zeros(shape, dtype=torch.float64)}

    def validate_decision_targets(self, targets: Tensor | None) -> None:
        if self.coverage is not None and targets is not None:
            conformal.check_rows(len(targets), self.coverage)

    def collect_decision_rows(self, batch: Batch) -> Score:
        error = to_double(self.predict_values(batch)) - to_double(batch.require_target())
        return {"residuals": RowValues(error.abs())}

    def fit_decisions(self, totals: dict[str, Tensor]) -> dict[str, float]:
        assert self.coverage is not None
        quantile = conformal.conformal_quantile(totals["residuals"].double(), self.coverage)
        self.decisions = {RESIDUAL_QUANTILE: quantile}
        return {RESIDUAL_QUANTILE: float(quantile.mean()) * self.target_scale}

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        """Return the validation loss on the scale of the training targets; None for ``huber``."""
        scale = {"mse": self.target_scale**2, "mae": self.target_scale}.get(self.loss_name)
        return None if scale is None or self.loss_name not in scores else scores[self.loss_name] / scale

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        half_width = self.decisions.get(RESIDUAL_QUANTILE)
        return regression_plots.make_plots(self.predict_values, batches, self.info.target, half_width)
