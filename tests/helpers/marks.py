"""Marks of parametrized tests."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest


def mark_slow_after(count: int, cases: Iterable[Any]) -> list[Any]:
    """Return the cases of a parametrization, all but the first ``count`` marked slow; tuples are several arguments."""
    values = [case if isinstance(case, tuple) else (case,) for case in cases]
    return [pytest.param(*value, marks=[pytest.mark.slow] * (place >= count)) for place, value in enumerate(values)]
