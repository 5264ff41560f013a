"""Correction of p values for several comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjust_p_values(p_values: Sequence[float], num_tests: int = 0) -> list[float]:
    """Return the p values adjusted by the step-down method of Holm, in the order given.

    If those up to 0.05 are called differences, the probability that any of them is false is at most 5 %, whatever the
    dependence among the comparisons.

    Args:
        p_values: One p value of each comparison.
        num_tests: Number of comparisons of which these were selected by their data; by default, or if it is smaller,
            that of these. The bound holds for any selection: Holm's argument counts all true hypotheses.

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = p.argsort(kind="stable")
    factors = max(num_tests, len(p)) - np.arange(len(p))
    steps = np.maximum.accumulate(p[order] * factors).clip(max=1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = steps
    return [float(value) for value in adjusted]
