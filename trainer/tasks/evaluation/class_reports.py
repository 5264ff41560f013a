"""What a confusion matrix and binned confidences say: a table of the classes, and a reliability diagram."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from trainer.core.artifacts import LineChart, PlotPanel, Table
from trainer.metrics.calibration import NUM_BINS, expected_calibration_error
from trainer.metrics.classification import f1_per_class, precision_per_class, recall_per_class

CLASS_COLUMNS = ("class", "rows", "predicted", "precision", "recall", "f1")


def tabulate_classes(confusion: Tensor, names: Sequence[str]) -> Table | None:
    """Return precision, recall and F1 of each class that occurs; None if none does.

    Args:
        confusion: Confusion matrix (C, C), true classes first.
        names: Names of the C classes.
    """
    counts, predicted = confusion.sum(1).tolist(), confusion.sum(0).tolist()
    scores = [score(confusion).tolist() for score in (precision_per_class, recall_per_class, f1_per_class)]
    rows = [
        (name, count, guesses, *(f"{value:.4f}" if value == value else "" for value in values))
        for name, count, guesses, *values in zip(names, counts, predicted, *scores, strict=True)
        if count or guesses
    ]
    return Table("classes", CLASS_COLUMNS, rows) if rows else None


def plot_reliability(bins: Tensor) -> LineChart | None:
    """Plot the accuracy of the rows in each bin of confidence against their mean confidence, and how many they are.

    Args:
        bins: Sums over all rows from ``bin_confidences``, (3, bins).

    References:
        Guo et al., On Calibration of Modern Neural Networks, ICML 2017 (figure 1).
    """
    count, correct, confidence = bins.double()
    occupied = count > 0
    if not occupied.any():
        return None
    points = (confidence / count)[occupied], (correct / count)[occupied]
    title = f"Reliability, ECE {expected_calibration_error(bins):.4f}"
    reliability = PlotPanel(
        title, "Mean confidence", "Accuracy", lines=[("", *points)], points=[("", *points)], diagonal=True
    )
    edges = torch.linspace(0, 1, NUM_BINS + 1, dtype=torch.double)
    steps = edges.repeat_interleave(2)[1:-1], count.repeat_interleave(2)
    return LineChart(
        "calibration", [reliability, PlotPanel("Confidence", "Confidence", "rows", lines=[("", *steps)])], 2
    )
