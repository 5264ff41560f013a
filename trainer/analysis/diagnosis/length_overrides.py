"""Overrides that make a run longer or shorter, by the key that sets its length."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.config import budget_keys

MIN_SECONDS = 1


def suggest_length(config: Mapping[str, Any], factor: float) -> list[str]:
    """Return the override for a run of another length; none if the key that sets it is not known.

    A run with a budget has recorded the steps that it allowed, and one with steps has recorded epochs without effect:
    a command line that sets another key than its own is refused.

    Args:
        config: Configuration of the run by dotted key.
        factor: Length of the other run, divided by that of the run.
    """
    budget = config.get("budget")
    if isinstance(budget, int | float | str):
        return [f"budget={max(MIN_SECONDS, round(factor * budget_keys.parse_seconds(budget)))}s"]
    for key in ("max_steps", "epochs"):
        value = config.get(key)
        if isinstance(value, int):
            return [f"{key}={max(1, round(factor * value))}"] if value else []
    return []


def suggest_end(config: Mapping[str, Any], row: Mapping[str, float]) -> list[str]:
    """Return the override for a run that ends with a validation; none if the key that sets the length is not known.

    Args:
        config: Configuration of the run by dotted key.
        row: The validation, with its ``epoch`` and ``step``.
    """
    if budget_keys.is_unfixed(config):
        return []
    for key, position in (("max_steps", "step"), ("epochs", "epoch")):
        value = config.get(key)
        if isinstance(value, int):
            return suggest_length(config, row.get(position, 0.0) / value) if value else []
    return []
