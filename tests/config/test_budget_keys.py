"""Times of budgets."""

from __future__ import annotations

import pytest

from trainer.config.budget_keys import is_unfixed, parse_seconds, select_identity


@pytest.mark.parametrize(
    ("value", "seconds"), [("10m", 600), ("90s", 90), ("1h30m", 5400), ("2d", 172800), (30, 30), ("1.5h", 5400)]
)
def test_times_in_seconds(value: str | float, seconds: float) -> None:
    assert parse_seconds(value) == seconds


def test_a_budget_is_part_of_the_identity_until_its_steps_are_fixed() -> None:
    unfixed, fixed = {"budget": "1m", "max_steps": None}, {"budget": "1m", "max_steps": 5}
    assert is_unfixed(unfixed)
    assert not is_unfixed(fixed)
    assert select_identity(unfixed) == unfixed
    assert select_identity(fixed) == select_identity({"budget": None, "max_steps": 5}) == {"max_steps": 5}
