"""Regression of values or forecasts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.core.batch import Batch, Score
from trainer.core.dataset import Dataset, DatasetInfo
from trainer.core.task import Task
from trainer.metrics.metrics import to_double
from trainer.tasks.evaluation import regression_plots
from trainer.utils.errors import ConfigError

_LOSSES = {"mse": F.mse_loss, "mae": F.l1_loss, "huber": F.smooth_l1_loss}


class Regression(Task):
    """Regression with equal shapes of predictions and targets, without broadcasting (B, 1) against (B,).

    Scores are in the original units if the data reports the scaling of its targets.

    Args:
        loss: ``mse``, ``mae`` or ``huber``.
    """

    shapes = "(B, ...) -> (B, ...)"

    monitor = "mse"

    def __init__(self, model: nn.Module, loss: Literal["mse", "mae", "huber"]):
        super().__init__(model)
        self._loss = _LOSSES[loss]
        self.loss_name = loss
        self.target_scale = 1.0
        self.info = DatasetInfo(sizes={})

    def setup(self, data: Dataset) -> None:
        self.info, self.target_scale = data.info, data.info.target_scale

    def validate_targets(self, targets: Tensor | None, split: str) -> None:
        if targets is None or not targets.is_floating_point():
            found = "none" if targets is None else str(targets.dtype).removeprefix("torch.")
            raise ConfigError(
                f"task: regression needs real targets; the {split} split has {found}"
                " (use task=classification for classes)"
            )
        bad = ~targets.isfinite().reshape(len(targets), -1).all(1)
        if bad.any():
            raise ConfigError(f"data: {split} targets must be finite; row {int(bad.nonzero()[0])} is not")

    def num_loss_terms(self, batch: Batch) -> int:
        assert batch.target is not None
        return batch.target.numel()

    def predict_values(self, batch: Batch) -> Tensor:
        """Return the predictions, in the shape of the targets."""
        prediction = self.forward_batch(batch)
        assert batch.target is not None
        if prediction.shape != batch.target.shape:
            raise ConfigError(
                f"model: predictions {tuple(prediction.shape)} do not fit targets {tuple(batch.target.shape)}:"
                " regression needs equal shapes"
            )
        return prediction

    def loss(self, batch: Batch, player: str) -> Tensor:
        assert batch.target is not None
        return self._loss(self.predict_values(batch), batch.target)

    def score(self, batch: Batch) -> Score:
        assert batch.target is not None
        target = to_double(batch.target)
        error = to_double(self.predict_values(batch)) - target
        return {
            "count": torch.tensor(target.numel(), device=target.device),
            "squared": error.square().sum(),
            "absolute": error.abs().sum(),
            "target": target.sum(),
            "target_squared": target.square().sum(),
        }

    def metrics(self, totals: dict[str, Tensor]) -> dict[str, float]:
        count = totals["count"]
        mse = float(totals["squared"] / count) * self.target_scale**2
        total_variation = totals["target_squared"] - totals["target"] ** 2 / count
        return {
            "mse": mse,
            "rmse": mse**0.5,
            "mae": float(totals["absolute"] / count) * self.target_scale,
            "r2": float(1 - totals["squared"] / total_variation),
        }

    def validation_loss(self, scores: Mapping[str, float]) -> float | None:
        """Return the validation loss on the scale of the training targets."""
        scaled = {"mse": scores["mse"] / self.target_scale**2, "mae": scores["mae"] / self.target_scale}
        return scaled.get(self.loss_name)

    def make_artifacts(self, batches: Iterable[Batch]) -> Iterator[Artifact | LazyArtifact]:
        return regression_plots.make_plots(self.predict_values, batches, self.info)
