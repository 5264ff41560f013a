"""Regression plots: predicted vs. true, residuals and forecasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from trainer.core.artifacts import Artifact, LazyArtifact, LineChart, PlotPanel
from trainer.core.batch import Batch
from trainer.core.dataset_info import TargetInfo
from trainer.utils.text import shorten_label

MAX_POINTS, MAX_FORECASTS, MAX_BINS = 4000, 6, 30
"""Maximum number of scatter points, plotted forecasts and histogram bins."""
MAX_SAVED_FORECASTS = 8 * MAX_FORECASTS
"""Maximum number of forecasts held while iterating over a split."""

HORIZON_LABEL = "steps ahead (0 = last observed step)"

PredictValues = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Forecast:
    """Forecast of one row.

    Attributes:
        row: row number.
        history: input (T, ...), if it has the columns of the target.
        truth: target (H, ...).
        predicted: prediction (H, ...).
    """

    row: int
    history: Tensor | None
    truth: Tensor
    predicted: Tensor


@dataclass
class RegressionResults:
    """Subsampled pairs of true and predicted values, their total count and unit, and forecasts from the whole split."""

    truth: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    total: int = 0
    count_label: str = "rows"
    forecasts: list[Forecast] = field(default_factory=list)


def make_plots(predict: PredictValues, batches: Iterable[Batch], info: TargetInfo) -> Iterator[Artifact | LazyArtifact]:
    """Yield plots in the original units if the targets were scaled by one factor, else in model units.

    Forecasts show one column each, in its own unit if ``info`` has the scale of each channel.
    """

    def denormalize(x: Tensor) -> Tensor:
        return x.double() if info.mean is None else x.double() * info.scale + info.mean

    @cache
    def results() -> RegressionResults:
        return _evaluate(predict, batches, denormalize)

    def forecasts() -> Artifact | None:
        selected = _select_forecasts(results().forecasts)
        panels = [_plot_forecast(forecast, index, info) for index, forecast in enumerate(selected)]
        return LineChart("forecasts", panels, min(3, len(panels))) if panels else None

    yield LazyArtifact("predictions", lambda: _plot_predictions(results(), info.unit))
    yield LazyArtifact("forecasts", forecasts)


@torch.no_grad()
def _evaluate(
    predict: PredictValues, batches: Iterable[Batch], denormalize: Callable[[Tensor], Tensor]
) -> RegressionResults:
    evaluation = RegressionResults()
    count, stride = 0, 1
    for batch in batches:
        predicted = predict(batch)
        truth, prediction = denormalize(batch.require_target()).cpu(), denormalize(predicted).cpu()
        evaluation.total += truth.numel()
        evaluation.count_label = _describe_count(truth)
        evaluation.truth.append(_subsample(truth.flatten()))
        evaluation.predicted.append(_subsample(prediction.flatten()))
        for row in range(len(batch) if _has_steps(batch) else 0):
            # The number of rows is unknown: when too many forecasts are held, every second one is dropped.
            if count % stride == 0:
                history = denormalize(batch.inputs["x"][row]).cpu() if _is_history(batch) else None
                evaluation.forecasts.append(Forecast(int(batch.index[row]), history, truth[row], prediction[row]))
            if len(evaluation.forecasts) > MAX_SAVED_FORECASTS:
                evaluation.forecasts, stride = evaluation.forecasts[::2], 2 * stride
            count += 1
    return evaluation


def _describe_count(target: Tensor) -> str:
    """Describe the unit in which the values of targets (B, ...) are counted."""
    if target.numel() == len(target):
        return "rows"
    dimensions = {2: " (rows x columns)", 3: " (rows x steps x columns)"}
    return f"values{dimensions.get(target.dim(), '')}"


def _select_forecasts(forecasts: Sequence[Forecast]) -> list[Forecast]:
    """Select evenly spaced forecasts from first to last."""
    index = torch.linspace(0, len(forecasts) - 1, min(len(forecasts), MAX_FORECASTS)).round().long()
    return [forecasts[i] for i in index.tolist()]


def _subsample(values: Tensor) -> Tensor:
    """Select evenly spaced values."""
    return values[torch.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().long()]


def _has_steps(batch: Batch) -> bool:
    """Return whether the targets are forecasts (B, H, ...), of one or more steps."""
    target = batch.target
    return target is not None and batch.output_index is None and target.dim() > 2


def _is_history(batch: Batch) -> bool:
    """Return whether the input x (B, T, ...) is the history of the target (B, H, ...), in the same columns."""
    x, target = batch.inputs.get("x"), batch.target
    return x is not None and target is not None and x.dim() == target.dim() and x.shape[2:] == target.shape[2:]


def _plot_predictions(evaluation: RegressionResults, unit: str) -> Artifact | None:
    truth, predicted = _subsample(torch.cat(evaluation.truth)), _subsample(torch.cat(evaluation.predicted))
    finite = (predicted - truth).isfinite()
    if not finite.any():
        return None
    truth, predicted = truth[finite], predicted[finite]
    residual = predicted - truth
    bins = min(MAX_BINS, max(5, round(len(residual) ** 0.5)))
    margin = 0.0 if residual.min() < residual.max() else 1.0
    edges = torch.linspace(float(residual.min()) - margin, float(residual.max()) + margin, bins + 1, dtype=torch.double)
    counts = torch.bincount(torch.bucketize(residual, edges[1:-1]), minlength=bins).double()
    steps = edges.repeat_interleave(2)[1:-1], counts.repeat_interleave(2)
    true_label, predicted_label, residual_label = (
        _append_unit(label, unit) for label in ("True", "Predicted", "Predicted - True")
    )
    title = "Residual histogram"
    if len(residual) < evaluation.total:
        title += f", {len(residual):,} of {evaluation.total:,}"
    return LineChart(
        "predictions",
        [
            PlotPanel(
                "Predicted vs. true", true_label, predicted_label, points=[("", truth, predicted)], diagonal=True
            ),
            PlotPanel("Residuals", predicted_label, residual_label, points=[("", predicted, residual)]),
            PlotPanel(title, residual_label, evaluation.count_label, lines=[("", *steps)]),
        ],
        3,
    )


def _append_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def _plot_forecast(forecast: Forecast, place: int, info: TargetInfo) -> PlotPanel:
    """Plot one column of a forecast, a different one for each ``place``."""
    columns = forecast.truth.flatten(1).shape[1]
    column = place % columns
    label, unit, mean, std = f"column {column + 1}" if columns > 1 else "value", info.unit, 0.0, 1.0
    if len(info.channel_names) == columns:
        label = shorten_label(info.channel_names[column])
    if info.channel_moments is not None and len(info.channel_moments[0]) == columns:
        (mean, std), unit = (float(statistic[column]) for statistic in info.channel_moments), ""
    truth, predicted = (values.flatten(1)[:, column] * std + mean for values in (forecast.truth, forecast.predicted))
    ahead = torch.arange(1, len(truth) + 1)
    lines = []
    if forecast.history is not None:
        past = forecast.history.flatten(1)[:, column] * std + mean
        lines.append(("history", torch.arange(1 - len(past), 1), past))
        last = past[-1:]
        ahead, truth, predicted = torch.arange(len(truth) + 1), torch.cat((last, truth)), torch.cat((last, predicted))
    lines += [("true", ahead, truth), ("predicted", ahead, predicted)]
    return PlotPanel(f"row {forecast.row}", HORIZON_LABEL, _append_unit(label, unit), lines=lines)
