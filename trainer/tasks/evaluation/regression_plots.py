"""Plots of predicted values: predicted against true, residuals, forecasts beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from trainer.core.artifacts import Artifact, LazyArtifact, LineChart, PlotPanel
from trainer.core.batch import Batch
from trainer.core.dataset import DatasetInfo
from trainer.utils.text import shorten_label

MAX_POINTS, MAX_FORECASTS, MAX_BINS = 4000, 6, 30
"""Points of a picture at most, forecasts that are shown, and bars of residuals."""
MAX_SAVED_FORECASTS = 8 * MAX_FORECASTS
"""Forecasts that are kept at most until the last batch has been seen."""

HORIZON_LABEL = "steps ahead (0 = the last one known)"

PredictValues = Callable[[Batch], Tensor]


@dataclass(frozen=True)
class Forecast:
    """A row of a split: what was known (T, ...) if it has the same columns, what came and what was said (H, ...)."""

    row: int
    history: Tensor | None
    truth: Tensor
    predicted: Tensor


@dataclass
class RegressionResults:
    """Some pairs of every batch, how many there are and what they are called, and forecasts from all of a split."""

    truth: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    total: int = 0
    count_label: str = "rows"
    forecasts: list[Forecast] = field(default_factory=list)


def make_plots(
    predict: PredictValues, batches: Iterable[Batch], facts: DatasetInfo
) -> Iterator[Artifact | LazyArtifact]:
    """Charts in the data's own units, where its targets were scaled by one number; else in those it is trained on.

    Forecasts show a column each, which can be told in its own unit where ``facts`` have the scale of each.
    """

    def own(x: Tensor) -> Tensor:
        return x.double() if facts.target_mean is None else x.double() * facts.target_scale + facts.target_mean

    @cache
    def found() -> RegressionResults:
        return _evaluate(predict, batches, own)

    def forecasts() -> Artifact | None:
        panels = [_plot_forecast(one, place, facts) for place, one in enumerate(_select_forecasts(found().forecasts))]
        return LineChart("forecasts", panels, min(3, len(panels))) if panels else None

    yield LazyArtifact("predictions", lambda: _plot_predictions(found(), facts.target_unit))
    yield LazyArtifact("forecasts", forecasts)


@torch.no_grad()
def _evaluate(predict: PredictValues, batches: Iterable[Batch], own: Callable[[Tensor], Tensor]) -> RegressionResults:
    evaluation = RegressionResults()
    count, every = 0, 1
    for batch in batches:
        predicted = predict(batch)
        truth, guess = own(batch.require_target()).cpu(), own(predicted).cpu()
        evaluation.total += truth.numel()
        evaluation.count_label = _describe_count(truth)
        evaluation.truth.append(_subsample(truth.flatten()))
        evaluation.predicted.append(_subsample(guess.flatten()))
        for row in range(len(batch) if _has_steps(batch) else 0):
            # How many are to come is not known: whenever too many are kept every second is let go.
            if count % every == 0:
                history = own(batch.inputs["x"][row]).cpu() if _is_history(batch) else None
                evaluation.forecasts.append(Forecast(int(batch.index[row]), history, truth[row], guess[row]))
            if len(evaluation.forecasts) > MAX_SAVED_FORECASTS:
                evaluation.forecasts, every = evaluation.forecasts[::2], 2 * every
            count += 1
    return evaluation


def _describe_count(target: Tensor) -> str:
    """What the numbers of targets (B, ...) are, by which rows, steps and columns they are counted."""
    if target.numel() == len(target):
        return "rows"
    counted = {2: " (rows x columns)", 3: " (rows x steps x columns)"}
    return f"numbers{counted.get(target.dim(), '')}"


def _select_forecasts(forecasts: Sequence[Forecast]) -> list[Forecast]:
    """A few from the first to the last."""
    places = torch.linspace(0, len(forecasts) - 1, min(len(forecasts), MAX_FORECASTS)).round().long()
    return [forecasts[place] for place in places.tolist()]


def _subsample(values: Tensor) -> Tensor:
    """Evenly spread ones of many values."""
    return values[torch.linspace(0, len(values) - 1, min(len(values), MAX_POINTS)).round().long()]


def _has_steps(batch: Batch) -> bool:
    """Whether a row's target is a series (H, ...) of several steps, or of one beside a longer history."""
    target = batch.target
    return target is not None and batch.output_index is None and target.dim() > 2


def _is_history(batch: Batch) -> bool:
    """Whether the input x (B, T, ...) holds what came before the target (B, H, ...), in the same columns."""
    x, target = batch.inputs.get("x"), batch.target
    return x is not None and target is not None and x.dim() == target.dim() and x.shape[2:] == target.shape[2:]


def _plot_predictions(evaluation: RegressionResults, unit: str) -> Artifact | None:
    truth, predicted = _subsample(torch.cat(evaluation.truth)), _subsample(torch.cat(evaluation.predicted))
    known = (predicted - truth).isfinite()
    if not known.any():
        return None
    truth, predicted = truth[known], predicted[known]
    residual = predicted - truth
    bins = min(MAX_BINS, max(5, round(len(residual) ** 0.5)))
    room = 0.0 if residual.min() < residual.max() else 1.0
    edges = torch.linspace(float(residual.min()) - room, float(residual.max()) + room, bins + 1, dtype=torch.double)
    counts = torch.bincount(torch.bucketize(residual, edges[1:-1]), minlength=bins).double()
    steps = edges.repeat_interleave(2)[1:-1], counts.repeat_interleave(2)
    true, said, off = (_append_unit(label, unit) for label in ("True", "Predicted", "Predicted - True"))
    often = "how often"
    if len(residual) < evaluation.total:
        often += f", {len(residual):,} of {evaluation.total:,}"
    return LineChart(
        "predictions",
        [
            PlotPanel("predicted against true", true, said, points=[("", truth, predicted)], diagonal=True),
            PlotPanel("residuals", said, off, points=[("", predicted, residual)]),
            PlotPanel(often, off, evaluation.count_label, lines=[("", *steps)]),
        ],
        3,
    )


def _append_unit(label: str, unit: str) -> str:
    return f"{label} ({unit})" if unit else label


def _plot_forecast(shown: Forecast, place: int, facts: DatasetInfo) -> PlotPanel:
    """A column of a row, another one at each place: what was known, what came, and what was said."""
    columns = shown.truth.flatten(1).shape[1]
    column = place % columns
    label, unit, mean, std = f"column {column + 1}" if columns > 1 else "value", facts.target_unit, 0.0, 1.0
    if len(facts.channel_names) == columns:
        label = shorten_label(facts.channel_names[column])
    if facts.channel_scale is not None and len(facts.channel_scale[0]) == columns:
        (mean, std), unit = (float(each[column]) for each in facts.channel_scale), ""
    truth, predicted = (part.flatten(1)[:, column] * std + mean for part in (shown.truth, shown.predicted))
    ahead = torch.arange(1, len(truth) + 1)
    lines = []
    if shown.history is not None:
        past = shown.history.flatten(1)[:, column] * std + mean
        lines.append(("history", torch.arange(1 - len(past), 1), past))
        last = past[-1:]
        ahead, truth, predicted = torch.arange(len(truth) + 1), torch.cat((last, truth)), torch.cat((last, predicted))
    lines += [("true", ahead, truth), ("predicted", ahead, predicted)]
    return PlotPanel(f"row {shown.row}", HORIZON_LABEL, _append_unit(label, unit), lines=lines)
