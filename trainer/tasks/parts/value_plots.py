"""Plots of predicted values: predicted against true, residuals, forecasts beside the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache

import torch
from torch import Tensor

from trainer.batch import Batch
from trainer.gallery import Chart, Item, Later, Panel

POINTS, FORECASTS, BINS = 4000, 6, 30
"""Points of a picture at most, forecasts that are shown, and bars of residuals."""

Predict = Callable[[Batch], Tensor]


@dataclass
class Evaluation:
    """Some pairs of every batch, and the rows whose forecast is shown: (row, history, truth, prediction)."""

    truth: list[Tensor] = field(default_factory=list)
    predicted: list[Tensor] = field(default_factory=list)
    forecasts: list[tuple[int, Tensor | None, Tensor, Tensor]] = field(default_factory=list)


def of_values(predict: Predict, batches: Iterable[Batch], scale: float, mean: float | None) -> Iterator[Item | Later]:
    """Charts in the data's own units, where its targets were scaled by one number; else in those it is trained on."""

    def own(x: Tensor) -> Tensor:
        return x.double() if mean is None else x.double() * scale + mean

    @cache
    def found() -> Evaluation:
        return _evaluate(predict, batches, own)

    def forecasts() -> Item | None:
        panels = [_forecast(*those) for those in found().forecasts]
        return Chart("forecasts", panels, min(3, len(panels))) if panels else None

    yield Later("predictions", lambda: _against_truth(found()))
    yield Later("forecasts", forecasts)


@torch.no_grad()
def _evaluate(predict: Predict, batches: Iterable[Batch], own: Callable[[Tensor], Tensor]) -> Evaluation:
    evaluation = Evaluation()
    count = 0
    for batch in batches:
        predicted = predict(batch)
        assert batch.target is not None
        truth, guess = own(batch.target).cpu(), own(predicted).cpu()
        evaluation.truth.append(_thin(truth.flatten()))
        evaluation.predicted.append(_thin(guess.flatten()))
        for row in range(len(batch) if _has_steps(batch) else 0):
            # Ever fewer, because how many are to come is not known: the last few of them are spread over the split.
            if count & (count - 1) == 0:
                history = own(batch.inputs["x"][row]).cpu() if _is_history(batch) else None
                evaluation.forecasts.append((int(batch.index[row]), history, truth[row], guess[row]))
            count += 1
    evaluation.forecasts = evaluation.forecasts[-FORECASTS:]
    return evaluation


def _thin(values: Tensor) -> Tensor:
    """Evenly spread ones of many values."""
    return values[torch.linspace(0, len(values) - 1, min(len(values), POINTS)).round().long()]


def _has_steps(batch: Batch) -> bool:
    """Whether a row's target is a series (H, ...) of several steps, or of one beside a longer history."""
    target = batch.target
    return target is not None and batch.asked is None and target.dim() > 2


def _is_history(batch: Batch) -> bool:
    """Whether the input x (B, T, ...) holds what came before the target (B, H, ...), in the same columns."""
    x, target = batch.inputs.get("x"), batch.target
    return x is not None and target is not None and x.dim() == target.dim() and x.shape[2:] == target.shape[2:]


def _against_truth(evaluation: Evaluation) -> Item | None:
    truth, predicted = _thin(torch.cat(evaluation.truth)), _thin(torch.cat(evaluation.predicted))
    known = (predicted - truth).isfinite()
    if not known.any():
        return None
    truth, predicted = truth[known], predicted[known]
    residual = predicted - truth
    bins = min(BINS, max(5, round(len(residual) ** 0.5)))
    room = 0.0 if residual.min() < residual.max() else 1.0
    edges = torch.linspace(float(residual.min()) - room, float(residual.max()) + room, bins + 1, dtype=torch.double)
    counts = torch.bincount(torch.bucketize(residual, edges[1:-1]), minlength=bins).double()
    steps = edges.repeat_interleave(2)[1:-1], counts.repeat_interleave(2)
    return Chart(
        "predictions",
        [
            Panel("predicted against true", "True", "Predicted", points=[("", truth, predicted)], diagonal=True),
            Panel("residuals", "Predicted", "Predicted - True", points=[("", predicted, residual)]),
            Panel("how often", "Predicted - True", "rows", lines=[("", *steps)]),
        ],
        3,
    )


def _forecast(row: int, history: Tensor | None, truth: Tensor, predicted: Tensor) -> Panel:
    """The first column of a row: what was known, what came, and what was said."""
    truth, predicted = (part.flatten(1)[:, 0] for part in (truth, predicted))
    ahead = torch.arange(1, len(truth) + 1)
    lines = []
    if history is not None:
        past = history.flatten(1)[:, 0]
        lines.append(("history", torch.arange(1 - len(past), 1), past))
        last = past[-1:]
        ahead, truth, predicted = torch.arange(len(truth) + 1), torch.cat((last, truth)), torch.cat((last, predicted))
    lines += [("true", ahead, truth), ("predicted", ahead, predicted)]
    return Panel(f"row {row}", "step", "", lines=lines)
