"""Correction of p values for several comparisons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return the p values adjusted by the step-down method of Holm, in the order given.

    If those up to 0.05 are called differences, the probability that any of them is false is at most 5 %, whatever the
    dependence among the comparisons.

    Args:
        p_values: One p value of each comparison.

    References:
        Holm, A Simple Sequentially Rejective Multiple Test Procedure, Scandinavian Journal of Statistics 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = p.argsort(kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = steps
    return [float(value) for value in adjusted]
