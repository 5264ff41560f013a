"""Scores of predicted files by scikit-learn and NumPy, without the metrics of the package.

Each function takes the predictions, one row per item, and the targets of the items. It returns scores by the name that
they have in ``results.json``.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn import metrics

Scores = dict[str, float]


def score_classes(rows: pd.DataFrame, truth: Sequence[Any]) -> Scores:
    names = [title.removeprefix("p_") for title in rows if title.startswith("p_")]
    probabilities = rows[[f"p_{name}" for name in names]].to_numpy()
    true, label = list(map(str, truth)), rows["label"].astype(str)
    hits = probabilities[np.arange(len(true)), [names.index(name) for name in true]]
    scores = {
        "accuracy": metrics.accuracy_score(true, label),
        "f1": metrics.f1_score(true, label, average="macro"),
        "balanced_accuracy": metrics.balanced_accuracy_score(true, label),
        "mcc": metrics.matthews_corrcoef(true, label),
        "macro_precision": metrics.precision_score(true, label, average="macro", zero_division=0),
        "macro_recall": metrics.recall_score(true, label, average="macro", zero_division=0),
        "nll": float(-np.log(hits).mean()),
        "perplexity": float(np.exp(-np.log(hits).mean())),
        "ece": _compute_calibration_error(probabilities, [names.index(name) for name in true]),
    }
    if len(names) == 2:
        positive = [name == names[1] for name in true]
        scores["auc"] = metrics.roc_auc_score(positive, probabilities[:, 1])
        scores["average_precision"] = metrics.average_precision_score(positive, probabilities[:, 1])
    if "set" in rows:
        members = [str(cell).split("|") if cell != "" else [] for cell in rows["set"]]
        scores["coverage"] = float(np.mean([name in cell for name, cell in zip(true, members, strict=True)]))
        scores["set_size"] = float(np.mean(list(map(len, members))))
    return scores


def _compute_calibration_error(probabilities: np.ndarray, true: Sequence[int], num_bins: int = 15) -> float:
    """Return the expected calibration error (Guo et al. 2017, equation 3)."""
    confidence, hits = probabilities.max(1), probabilities.argmax(1) == np.array(true)
    bins = np.digitize(confidence, np.linspace(0, 1, num_bins + 1), right=True)
    gaps = [abs(float((hits[bins == k] - confidence[bins == k]).sum())) for k in np.unique(bins)]
    return sum(gaps) / len(hits)


def score_numbers(rows: pd.DataFrame, truth: Sequence[Any]) -> Scores:
    value, true = rows["value"].to_numpy(), np.array(truth, float)
    scores = _score_errors(true, value)
    if "lower" in rows:
        scores["coverage"] = float(((rows["lower"] <= true) & (true <= rows["upper"])).mean())
        scores["interval_width"] = float((rows["upper"] - rows["lower"]).mean())
    return scores


def score_forecasts(rows: pd.DataFrame, truth: Sequence[tuple[pd.Series, np.ndarray | None]]) -> Scores:
    """Score forecasts of which every step is known; several series in standard deviations of the training rows.

    Args:
        rows: Forecasts, one row per origin and step.
        truth: Each series by time, with its mean and standard deviation in the training rows; None for a single one.
    """
    is_known = rows.groupby("origin")["time"].transform(lambda times: times.isin(truth[0][0].index).all())
    known, pairs = rows[is_known], list[np.ndarray]()
    for series, moments in truth:
        pair = np.array([series.loc[known["time"]], known[series.name]])
        pairs.append(pair if moments is None else (pair - moments[0]) / moments[1])
    return _score_errors(*np.concatenate(pairs, axis=1))


def _score_errors(true: np.ndarray, value: np.ndarray) -> Scores:
    mse = metrics.mean_squared_error(true, value)
    mae = metrics.mean_absolute_error(true, value)
    return {"mse": mse, "rmse": math.sqrt(mse), "mae": mae, "r2": metrics.r2_score(true, value)}


def score_masks(rows: pd.DataFrame, truth: Sequence[np.ndarray]) -> Scores:
    mask, true = (np.concatenate([pixels.ravel() for pixels in images]) for images in (rows["pixels"], truth))
    iou = metrics.jaccard_score(true, mask, average=None, labels=np.unique(true))
    return {"mean_iou": float(iou.mean()), "pixel_accuracy": metrics.accuracy_score(true, mask)}


def score_ranks(rows: pd.DataFrame, truth: Sequence[Any]) -> Scores:
    del truth  # each triple is the answer of its two queries
    ranks = rows[["tail_rank", "head_rank"]].to_numpy().ravel()
    return {"mrr": float((1 / ranks).mean())} | {f"hits_at_{k}": float((ranks <= k).mean()) for k in (1, 3, 10)}


def score_continuations(rows: pd.DataFrame, truth: Sequence[str]) -> Scores:
    return {"token_accuracy": float(np.mean([text == true for text, true in zip(rows["text"], truth, strict=True)]))}


def score_translations(rows: pd.DataFrame, truth: Sequence[str]) -> Scores:
    pairs = [(text.split(), true.split()) for text, true in zip(rows["text"], truth, strict=True)]
    return {"exact_match": float(np.mean([text == true for text, true in pairs])), "bleu": _compute_bleu(pairs)}


def _compute_bleu(pairs: Sequence[tuple[list[str], list[str]]]) -> float:
    """Return corpus BLEU with exponential smoothing (Papineni et al. 2002; Chen and Cherry 2014, method 3)."""
    precisions, smoothing = list[float](), 1.0
    for order in range(1, 5):
        grams = [[Counter(zip(*(words[k:] for k in range(order)), strict=False)) for words in pair] for pair in pairs]
        total = sum(text.total() for text, _ in grams)
        matches: float = sum((text & true).total() for text, true in grams)
        if not total or (order == 1 and not matches):
            return 0.0
        if not matches:
            smoothing /= 2
            matches = smoothing
        precisions.append(matches / total)
    lengths = [sum(len(pair[side]) for pair in pairs) for side in (0, 1)]
    return 100 * min(1.0, math.exp(1 - lengths[1] / lengths[0])) * math.exp(np.mean(np.log(precisions)))


def score_divergences(rows: pd.DataFrame, truth: Sequence[Any]) -> Scores:
    """Average the divergence, which is in closed form; the other terms are estimated with other noise."""
    del truth
    return {"kl": float(rows["kl"].mean())}


def score_reconstructions(rows: pd.DataFrame, truth: Sequence[Any]) -> Scores:
    """Average the squared errors of the reconstructions."""
    del truth
    return {"mse": float(rows["reconstruction"].mean())}


def score_nothing(rows: pd.DataFrame, truth: Sequence[Any]) -> Scores:
    """Return no scores: the run reports no mean of what it predicts for each row."""
    del rows, truth
    return {}
