"""Paired bootstrap over test rows: intervals of scores, and of differences of scores on the same rows."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from trainer.stats.confidence_interval import LEVEL, RESAMPLES, SEED

TRANSFORMS: Mapping[str, np.ufunc] = {"mean": np.positive, "sqrt": np.sqrt, "exp": np.exp}
"""Functions of a mean over rows that give a score, by name."""
MAX_UNITS = 10_000
"""Most units that are drawn; of more rows, each unit is a random group of them, whose sums vary as much."""
CHUNK_WEIGHTS = 1 << 21
"""Number of row weights that are held at once."""


@dataclass(frozen=True)
class RowTerms:
    """What each row contributes to a score: ``transform(sum of numerators / sum of denominators)``.

    Attributes:
        numerators: Numerator of each row (N,), such as 1 for a correct class, or a sum of losses.
        denominators: Denominator of each row (N,), such as 1, or a number of tokens.
        transform: Name of a function in ``TRANSFORMS``.
    """

    numerators: np.ndarray
    denominators: np.ndarray
    transform: str = "mean"

    def __len__(self) -> int:
        return len(self.numerators)

    def compute_score(self) -> float:
        """Return the score of all rows; NaN if the denominators add up to zero."""
        with np.errstate(all="ignore"):
            return float(TRANSFORMS[self.transform](self.numerators.sum() / self.denominators.sum()))


def resample_scores(settings: Sequence[Sequence[RowTerms]], resamples: int = RESAMPLES) -> np.ndarray:
    """Return the score of each setting on resampled rows, averaged over its runs; the rows are the same for all.

    Each resample draws N of N rows with replacement. The runs are not resampled: the spread is that of the rows alone.

    Args:
        settings: Terms of the runs of each setting, all of the same N rows in the same order.
        resamples: Number of resamples R.

    Returns:
        Scores (R, K) of the K settings.

    Raises:
        ValueError: The numbers of rows differ.

    References:
        Efron and Tibshirani, An Introduction to the Bootstrap, Chapman and Hall 1993.
    """
    runs = [run for setting in settings for run in setting]
    numbers = {len(run) for run in runs}
    if len(numbers) != 1:
        raise ValueError(f"settings: runs with {sorted(numbers)} rows; they must have the same rows")
    (number,) = numbers
    generator = np.random.default_rng(SEED)
    groups = generator.permutation(number) % MAX_UNITS
    numerators, denominators = (
        np.stack([np.bincount(groups, terms) for terms in values], axis=1)
        for values in ([run.numerators for run in runs], [run.denominators for run in runs])
    )
    number = len(numerators)
    parts = []
    chunk = max(1, CHUNK_WEIGHTS // number)
    for start in range(0, resamples, chunk):
        rows = generator.integers(number, size=(min(chunk, resamples - start), number))
        weights = np.stack([np.bincount(row, minlength=number) for row in rows]).astype(np.float64)
        with np.errstate(all="ignore"):
            ratios = (weights @ numerators) / (weights @ denominators)
            parts.append(np.stack([TRANSFORMS[run.transform](ratios[:, i]) for i, run in enumerate(runs)], axis=1))
    scores = np.concatenate(parts)
    bounds = np.cumsum([0, *map(len, settings)])
    return np.stack([scores[:, low:high].mean(1) for low, high in itertools.pairwise(bounds)], axis=1)


def compute_percentile_interval(sample: np.ndarray, level: float = LEVEL) -> tuple[float, float] | None:
    """Return the percentiles that hold a share of a sample; None without finite values.

    Args:
        sample: Resampled scores or differences (R,).
        level: The share.
    """
    values = sample[np.isfinite(sample)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high
