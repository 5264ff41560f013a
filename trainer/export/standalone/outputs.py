"""Columns of predictions from the outputs of an exported model, equal to those of ``train predict``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from trainer.core import prediction_columns
from trainer.core.prediction_columns import Column

Predict = Callable[[Mapping[str, Column], np.ndarray, Mapping[str, Any]], dict[str, Column]]
"""Function from the names of rows, their outputs and what these are, to the columns of their predictions."""


def predict_rows(names: Mapping[str, Column], outputs: np.ndarray, options: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of predictions of independent rows, by title.

    Args:
        names: Columns that identify the rows (N); one that has the title of a prediction gets another title.
        outputs: Outputs of the model (N, ...).
        options: What the outputs are, from ``preprocess.json``.
    """
    return prediction_columns.join_identifiers(names, DECODERS[options["kind"]](outputs, options))


def decode_logits(logits: np.ndarray, options: Mapping[str, Any]) -> dict[str, Column]:
    """Return the label, the probability of each class, and the conformal set if the run has fitted one.

    Args:
        logits: Logits (N, C), or (N, 1) of the second of two classes.
        options: ``class_names`` (C), and the decisions ``temperature``, ``threshold`` and ``score_quantile``, if any.
    """
    if logits.shape[1] == 1:
        logits = np.concatenate((np.zeros_like(logits), logits), axis=1)
    scaled = logits / np.float32(options["temperature"]) if "temperature" in options else logits
    probabilities = compute_softmax(scaled.astype(np.float64))
    if "threshold" in options:
        label = (probabilities[:, 1] >= options["threshold"]).astype(np.int64)
    else:
        label = scaled.argmax(axis=1)
    names = options["class_names"]
    columns: dict[str, Column] = {"label": [names[index] for index in label.tolist()]}
    columns |= prediction_columns.make_probability_columns(probabilities, names)
    if "score_quantile" in options:
        members = 1 - probabilities <= options["score_quantile"]
        columns |= prediction_columns.make_class_set_column(members, names)
    return columns


def compute_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, C) of logits."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def decode_numbers(values: np.ndarray, options: Mapping[str, Any]) -> dict[str, Column]:
    """Return numbers in their own units, and the bounds of their intervals if the run has fitted these.

    Args:
        values: Scaled numbers (N,) or (N, F).
        options: As for ``unscale_numbers``, with the names of the F ``channels``.
    """
    columns: dict[str, Column] = {}
    for field, numbers in unscale_numbers(values.reshape(len(values), -1), options).items():
        columns |= prediction_columns.make_number_columns(field, numbers, options["channels"])
    return columns


def unscale_numbers(values: np.ndarray, options: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return ``value``, and ``lower`` and ``upper`` if the run has fitted intervals, in their own units.

    Args:
        values: Scaled numbers (N, F).
        options: ``mean`` and ``scale``, one or F each, and ``residual_quantile``, if any: half the width of the scaled
            intervals.
    """
    bounds = {"value": values.astype(np.float64)}
    if "residual_quantile" in options:
        half_width = np.asarray(options["residual_quantile"]).reshape(-1, values.shape[1])
        bounds |= {"lower": bounds["value"] - half_width, "upper": bounds["value"] + half_width}
    return {
        field: prediction_columns.unscale(scaled, options["mean"], options["scale"]) for field, scaled in bounds.items()
    }


DECODERS: Mapping[str, Callable[[np.ndarray, Mapping[str, Any]], dict[str, Column]]] = {
    "classes": decode_logits,
    "numbers": decode_numbers,
}
"""Functions from outputs to columns, by the kind of the outputs."""
