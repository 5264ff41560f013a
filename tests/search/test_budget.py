"""Budgets: units, bounds, and how many runs they allow."""

from __future__ import annotations

import pytest

from trainer.search.budget import parse_budget
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "unit", "amount"),
    [
        ("90s", "seconds", 90),
        ("30m", "seconds", 1800),
        ("1.5h", "seconds", 5400),
        ("2d", "seconds", 172800),
        ("200steps", "steps", 200),
        ("20_000 steps", "steps", 20000),
        ("1e6steps", "steps", 1e6),
        ("1run", "runs", 1),
        ("40Runs", "runs", 40),
    ],
)
def test_units(text: str, unit: str, amount: float) -> None:
    budget = parse_budget(text)
    assert (budget.unit, budget.amount, budget.text) == (unit, amount, text)


@pytest.mark.parametrize(
    "text", ["", "30", "m", "0s", "-1m", "1.5runs", "nanm", "infh", "30 apples", "1e99s", "٣m", "1m2s"]
)
def test_what_is_no_budget_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"search budget: .* given; it must be a number with a unit"):
        parse_budget(text)
