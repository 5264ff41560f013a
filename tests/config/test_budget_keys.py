"""Times of budgets."""

from __future__ import annotations

import pytest

from trainer.config import compose
from trainer.config.budget_keys import (
    format_budget,
    is_unfixed,
    parse_seconds,
    select_identity,
    with_fixed_steps,
    with_saved_steps,
)
from trainer.utils.errors import ConfigError

SMALL = ("model=mlp", "data=moons", "data.rows=300")


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (90, "1m30s"),
        (60.0, "1m"),
        (0.5, "0.5s"),
        (5400, "1h30m"),
        (172861, "2d1m1s"),
        (1e-9, "0.000001s"),
        (0.7, "0.7s"),
    ],
)
def test_the_text_of_a_time(seconds: float, text: str) -> None:
    assert format_budget(seconds) == text
    assert format_budget(parse_seconds(text)) == text


@pytest.mark.parametrize(
    "others", [("60", "60s", "1m", "60.0", "0.5m30s"), ("2", "2s", "2.0s"), ("0.5h", "30m", "1800")]
)
def test_equal_budgets_are_one(others: tuple[str, ...]) -> None:
    configs = [compose.compose([*SMALL, f"budget={value}"]) for value in others]
    assert len({config.config_hash for config in configs}) == 1
    assert len({(config.settings.budget, config.tree["budget"], config.raw["budget"]) for config in configs}) == 1
    saved = with_fixed_steps(configs[0], 5)
    assert {with_saved_steps(config, saved).settings.max_steps for config in configs} == {5}


def test_a_saved_budget_of_another_text_is_the_same() -> None:
    assert select_identity({"budget": "60s", "max_steps": None}) == select_identity({"budget": 60, "max_steps": None})


def test_another_budget_is_named_with_the_length_of_the_run() -> None:
    saved = with_fixed_steps(compose.compose([*SMALL, "budget=1s"]), 1)
    with pytest.raises(ConfigError, match=r"budget: 2s given, but .* is a run of 1 step with budget=1s"):
        with_saved_steps(compose.compose([*SMALL, "budget=2"]), saved)
