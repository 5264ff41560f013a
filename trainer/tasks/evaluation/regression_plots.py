"""Regression plots: predictions against targets, residuals and forecasts."""

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
"""Maximum number of forecasts kept while iterating over a split."""

HORIZON_LABEL = "steps ahead (0 = last observed step)"

PredictValues = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Forecast:
    """Forecast of one row.

    Attributes:
        row: Number of the row in the split.
        history: Input (T, ...); None if it does not have the columns of the target.
        truth: Target (H, ...).
        predicted: Prediction (H, ...).
        half_width: Half width (H, ...) of its intervals; None without intervals.
    """

    row: int
    history: Tensor | None
    truth: Tensor
    predicted: Tensor
    half_width: Tensor | None = None


@dataclass
class RegressionResults:
    """Predictions of a split.

    Attributes:
        truth: Evenly spaced true values of each batch, (N,).
        predicted: Predictions of these values, (N,).
        total: Number of values in the split.
        count_label: Unit in which values are counted, such as ``rows``.
        forecasts: Evenly spaced forecasts of the split.
    """

    truth: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    total: int = 0
    count_label: str = "rows"
    forecasts: list[Forecast] = field(default_factory=list)


def make_plots(
    predict: PredictValues, batches: Iterable[Batch], info: TargetInfo, half_width: Tensor | None = None
) -> Iterator[Artifact | LazyArtifact]:
    """Yield plots of predictions, residuals and forecasts.

    Values are in the original units if all targets were scaled alike, otherwise in the units of the model. A forecast
    shows one column, in its own unit if ``info`` has the scale of each channel.

    Args:
        predict: Function from a batch to predictions (B, ...).
        batches: Batches of a split; they are iterated once, when the first plot is drawn.
        info: Units of the targets.
        half_width: Half width (...) of the intervals of the outputs, scaled like the targets; None without intervals.
    """
    scaled = None if half_width is None else half_width.cpu().double() * (1.0 if info.mean is None else info.scale)

    def denormalize(x: Tensor) -> Tensor:
        return x.double() if info.mean is None else x.double() * info.scale + info.mean

    @cache
    def get_results() -> RegressionResults:
        return _evaluate(predict, batches, denormalize, scaled)

    def draw_forecasts() -> Artifact | None:
        selected = _select_forecasts(get_results().forecasts)
        panels = [_plot_forecast(forecast, index, info) for index, forecast in enumerate(selected)]
        return LineChart("forecasts", panels, min(3, len(panels))) if panels else None

    yield LazyArtifact("predictions", lambda: _plot_predictions(get_results(), info.unit))
    yield LazyArtifact("forecasts", draw_forecasts)


@torch.no_grad()
def _evaluate(
    predict: PredictValues,
    batches: Iterable[Batch],
    denormalize: Callable[[Tensor], Tensor],
    half_width: Tensor | None,
) -> RegressionResults:
    results = RegressionResults()
    count, stride = 0, 1
    for batch in batches:
        predicted = predict(batch)
        truth, prediction = denormalize(batch.require_target()).cpu(), denormalize(predicted).cpu()
        results.total += truth.numel()
        results.count_label = _describe_count(truth)
        results.truth.append(_subsample(truth.flatten()))
        results.predicted.append(_subsample(prediction.flatten()))
        if not _has_steps(batch):
            continue
        for row in range(len(batch)):
            # The number of rows is not known in advance: every second forecast is dropped when there are too many.
            if count % stride == 0:
                history = denormalize(batch.inputs["x"][row]).cpu() if _is_history(batch) else None
                forecast = Forecast(int(batch.index[row]), history, truth[row], prediction[row], half_width)
                results.forecasts.append(forecast)
            if len(results.forecasts) > MAX_SAVED_FORECASTS:
                results.forecasts, stride = results.forecasts[::2], 2 * stride
            count += 1
    return results


def _describe_count(target: Tensor) -> str:
    """Return the unit in which the values of targets (B, ...) are counted."""
    if target.numel() == len(target):
        return "rows"
    dimensions = {2: " (rows x columns)", 3: " (rows x steps x columns)"}
    return f"values{dimensions.get(target.dim(), '')}"


def _select_forecasts(forecasts: Sequence[Forecast]) -> list[Forecast]:
    """Return evenly spaced forecasts, including the first and the last."""
    index = torch.linspace(0, len(forecasts) - 1, min(len(forecasts), MAX_FORECASTS)).round().long()
    return [forecasts[i] for i in index.tolist()]


def _subsample(values: Tensor) -> Tensor:
    """Return evenly spaced values."""
    return values[torch.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().long()]


def _has_steps(batch: Batch) -> bool:
    """Return whether the targets are forecasts (B, H, ...) of one or more steps."""
    target = batch.target
    return target is not None and batch.output_index is None and target.dim() > 2


def _is_history(batch: Batch) -> bool:
    """Return whether the input x (B, T, ...) is the history of the target (B, H, ...), in the same columns."""
    x, target = batch.inputs.get("x"), batch.target
    return x is not None and target is not None and x.dim() == target.dim() and x.shape[2:] == target.shape[2:]


def _plot_predictions(results: RegressionResults, unit: str) -> Artifact | None:
    truth, predicted = _subsample(torch.cat(results.truth)), _subsample(torch.cat(results.predicted))
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
    true_label, predicted_label = _append_unit("True", unit), _append_unit("Predicted", unit)
    residual_label = _append_unit("Predicted - True", unit)
    title = "Residual histogram"
    if len(residual) < results.total:
        title += f", {len(residual):,} of {results.total:,}"
    predictions = PlotPanel(
        "Predicted vs. true", true_label, predicted_label, points=[("", truth, predicted)], diagonal=True
    )
    residuals = PlotPanel("Residuals", predicted_label, residual_label, points=[("", predicted, residual)])
    histogram = PlotPanel(title, residual_label, results.count_label, lines=[("", *steps)])
    return LineChart("predictions", [predictions, residuals, histogram, _plot_quantiles(residual, residual_label)], 2)


def _plot_quantiles(residual: Tensor, label: str) -> PlotPanel:
    """Plot the quantiles of residuals (N,) against those of a normal distribution of their mean and deviation."""
    ordered = residual.double().sort().values
    positions = (torch.arange(len(ordered), dtype=torch.double) + 0.5) / len(ordered)
    deviation = ordered.std() if len(ordered) > 1 else torch.zeros(())
    normal = ordered.mean() + deviation * torch.special.ndtri(positions)
    return PlotPanel(
        "Quantiles of the residuals", "Normal distribution", label, points=[("", normal, ordered)], diagonal=True
    )


def _append_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def _plot_forecast(forecast: Forecast, index: int, info: TargetInfo) -> PlotPanel:
    """Plot one column of a forecast, a different one for each ``index``."""
    columns = forecast.truth.flatten(1).shape[1]
    column = index % columns
    label = f"column {column + 1}" if columns > 1 else "value"
    unit, mean, std = info.unit, 0.0, 1.0
    if len(info.channel_names) == columns:
        label = shorten_label(info.channel_names[column])
    if info.channel_moments is not None and len(info.channel_moments[0]) == columns:
        means, stds = info.channel_moments
        unit, mean, std = "", float(means[column]), float(stds[column])
    truth = forecast.truth.flatten(1)[:, column] * std + mean
    predicted = forecast.predicted.flatten(1)[:, column] * std + mean
    steps_ahead = torch.arange(1, len(truth) + 1)
    lines, bands = [], []
    if forecast.half_width is not None:
        half_width = forecast.half_width.flatten(1)[:, column] * std
        bands = [("interval", steps_ahead, predicted - half_width, predicted + half_width)]
    if forecast.history is not None:
        history = forecast.history.flatten(1)[:, column] * std + mean
        lines.append(("history", torch.arange(1 - len(history), 1), history))
        last_value = history[-1:]
        steps_ahead = torch.arange(len(truth) + 1)
        truth, predicted = torch.cat((last_value, truth)), torch.cat((last_value, predicted))
    lines += [("true", steps_ahead, truth), ("predicted", steps_ahead, predicted)]
    return PlotPanel(f"row {forecast.row}", HORIZON_LABEL, _append_unit(label, unit), lines=lines, bands=bands)
