"""Confidence interval of a mean over seeds, by the BCa bootstrap."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

LEVEL = 0.95
"""Probability with which an interval contains the true value."""
RESAMPLES = 2000
SEED = 0
"""Seed of the resamples, so that the same scores always have the same interval."""
MIN_SEEDS = 4
"""Fewest seeds from which anything is concluded: three can neither show a difference nor give an interval."""


def compute_mean_interval(
    values: Sequence[float], level: float = LEVEL, resamples: int = RESAMPLES
) -> tuple[float, float] | None:
    """Return the BCa interval of the mean of scores.

    The percentiles of the bootstrap are corrected for its bias (the share of resampled means below the mean) and for
    its acceleration (the skewness of the means that each leave out one score). With few scores it is too narrow: of ten
    normal scores it holds the true mean nine times out of ten. Comparisons therefore use a test of their own.

    Args:
        values: One score of each seed.
        level: Probability of the interval.
        resamples: Number of resamples.

    Returns:
        The bounds; None for fewer than ``MIN_SEEDS`` scores or for scores that are not finite.

    References:
        Efron, Better Bootstrap Confidence Intervals, JASA 1987.
        Efron and Tibshirani, An Introduction to the Bootstrap, Chapman and Hall 1993, section 14.3.
    """
    from scipy.special import ndtr, ndtri

    sample = np.asarray(values, dtype=np.float64)
    if len(sample) < MIN_SEEDS or not np.isfinite(sample).all():
        return None
    mean = float(sample.mean())
    if np.ptp(sample) == 0:
        return mean, mean
    index = np.random.default_rng(SEED).integers(len(sample), size=(resamples, len(sample)))
    means = np.sort(sample[index].mean(1))
    # Means that equal the mean up to rounding count half on each side.
    tolerance = 1e-12 * float(np.ptp(sample))
    below = float((means < mean - tolerance).mean() + (means <= mean + tolerance).mean()) / 2
    bias = float(ndtri(np.clip(below, 1 / resamples, 1 - 1 / resamples)))
    # The deviations of the means without one score are proportional, with the opposite sign.
    deviations = (sample - mean) / float(np.ptp(sample))
    acceleration = float((deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5))
    quantiles = bias + ndtri(np.array([(1 - level) / 2, (1 + level) / 2]))
    levels = ndtr(bias + quantiles / (1 - acceleration * quantiles))
    low, high = np.quantile(means, levels).tolist()
    return low, high
