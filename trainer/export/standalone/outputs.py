"""Columns of predictions from the outputs of an exported model, equal to those of ``train predict``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

Column = Sequence[Any] | np.ndarray


def decode_outputs(outputs: np.ndarray, options: Mapping[str, Any]) -> dict[str, Column]:
    """Return the columns of predictions, by title.

    Args:
        outputs: Outputs of the model (N, ...).
        options: What the outputs are, from ``preprocess.json``.
    """
    return DECODERS[options["kind"]](outputs, options)


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
    columns |= {f"p_{name}": probabilities[:, index] for index, name in enumerate(names)}
    if "score_quantile" in options:
        members = 1 - probabilities <= options["score_quantile"]
        columns["set"] = ["|".join(str(names[index]) for index in np.flatnonzero(row)) for row in members]
    return columns


def compute_softmax(logits: np.ndarray) -> np.ndarray:
    """Return the probabilities (N, C) of logits."""
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def decode_numbers(values: np.ndarray, options: Mapping[str, Any]) -> dict[str, Column]:
    """Return numbers in their own units, and the bounds of their intervals if the run has fitted these.

    Args:
        values: Scaled numbers (N,) or (N, F).
        options: ``mean`` and ``scale``, one or F each, names of the F ``channels``, and ``residual_quantile``, if any.
    """
    bounds = {"value": values.astype(np.float64)}
    if "residual_quantile" in options:
        half_width = np.asarray(options["residual_quantile"])
        bounds |= {"lower": bounds["value"] - half_width, "upper": bounds["value"] + half_width}
    columns: dict[str, Column] = {}
    for title, scaled in bounds.items():
        numbers = scaled * np.asarray(options["scale"]) + np.asarray(options["mean"])
        if numbers.ndim == 1 or numbers.shape[1] == 1:
            columns[title] = numbers.reshape(len(numbers))
        else:
            names = options["channels"] if len(options["channels"]) == numbers.shape[1] else range(numbers.shape[1])
            columns |= {f"{title}_{name}": numbers[:, index] for index, name in enumerate(names)}
    return columns


DECODERS: Mapping[str, Callable[[np.ndarray, Mapping[str, Any]], dict[str, Column]]] = {
    "classes": decode_logits,
    "numbers": decode_numbers,
}
"""Functions from outputs to columns, by the kind of the outputs."""
