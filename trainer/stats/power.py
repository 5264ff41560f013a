"""Power of the t test, and the number of seeds that it needs."""

from __future__ import annotations

import math
from typing import cast

POWER = 0.8
"""Probability with which a difference as large as the observed one is to be shown."""
MAX_SEEDS = 30
"""Most seeds that are suggested; a difference that needs more is below about half a standard deviation."""


def compute_power(effect: float, num_seeds: int, alpha: float, *, is_paired: bool) -> float:
    """Return the probability that a two-sided t test shows a difference.

    Args:
        effect: Difference of the means in standard deviations: of the differences if the seeds are paired, else of the
            scores of a setting.
        num_seeds: Number of pairs, or of scores of each setting.
        alpha: Level of the test.
        is_paired: Whether the scores are paired.

    References:
        Cohen, Statistical Power Analysis for the Behavioral Sciences, 2nd edition, 1988, chapter 2.
    """
    from scipy.special import nctdtr, stdtrit

    degrees = num_seeds - 1 if is_paired else 2 * (num_seeds - 1)
    shift = abs(effect) * math.sqrt(num_seeds if is_paired else num_seeds / 2)
    bound = cast(float, stdtrit(degrees, 1 - alpha / 2))
    # Where a tail is below the last digit of the other, its series can give NaN.
    below = 0.0 if shift > 5 else float(nctdtr(degrees, shift, -bound))
    missed = float(nctdtr(degrees, shift, bound))
    return 1.0 if math.isnan(missed) and shift > bound else 1 - missed + below


def count_needed_seeds(effect: float, alpha: float, *, is_paired: bool, power: float = POWER) -> int | None:
    """Return the fewest seeds of each setting with which a difference is shown with a probability.

    Args:
        effect: As in ``compute_power``.
        alpha: Level of the test.
        is_paired: Whether the scores are paired.
        power: The probability.

    Returns:
        The number of seeds; None if it is above ``MAX_SEEDS``.
    """
    low, high = 2, MAX_SEEDS + 1  # the power increases with the number of seeds
    if not effect or compute_power(effect, MAX_SEEDS, alpha, is_paired=is_paired) < power:
        return None
    while low < high:
        middle = (low + high) // 2
        if compute_power(effect, middle, alpha, is_paired=is_paired) >= power:
            high = middle
        else:
            low = middle + 1
    return low
