"""Names of metrics, and which way is better."""

from __future__ import annotations

import math
from typing import Literal

Direction = Literal["max", "min"]

HIGHER_IS_BETTER = frozenset(
    {
        *("accuracy", "f1", "auc", "r2", "mean_iou", "pixel_accuracy", "token_accuracy", "exact_match", "bleu"),
        *("beam_token_accuracy", "beam_exact_match", "beam_bleu"),
        *("average_precision", "elbo", "modes", "within", "label_accuracy", "hits", "mrr"),
        *("precision", "recall", "log_likelihood", "iw_bound", "codebook_perplexity"),
    }
)
LOWER_IS_BETTER = frozenset(
    {
        *("loss", "nll", "bits", "perplexity", "mse", "rmse", "mae", "gap", "energy_distance", "forcing_gap"),
        *("kl", "reconstruction", "frechet", "copies", "bits_per_dim"),
    }
)


def get_direction(name: str) -> Direction | None:
    """Whether more of a score is better; None for a name that is no score."""
    if name in HIGHER_IS_BETTER or name.startswith(("iou_", "f1_", "hits_")):
        return "max"
    return "min" if name in LOWER_IS_BETTER else None


def is_better(value: float, than: float | None, name: str) -> bool:
    """Whether a score improves on the best so far. NaN never does, and any number improves on none."""
    if not math.isfinite(value):
        return False
    if than is None:
        return True
    return value > than if get_direction(name) == "max" else value < than
