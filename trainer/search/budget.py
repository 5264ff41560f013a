"""Budget of a search: seconds, optimizer steps of all runs together, or configurations."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from trainer.utils.errors import ConfigError

Unit = Literal["seconds", "steps", "runs"]
_UNITS: dict[str, tuple[Unit, float]] = {
    **dict.fromkeys(("s", "sec", "seconds"), ("seconds", 1.0)),
    **dict.fromkeys(("m", "min", "minutes"), ("seconds", 60.0)),
    **dict.fromkeys(("h", "hours"), ("seconds", 3600.0)),
    **dict.fromkeys(("d", "days"), ("seconds", 86400.0)),
    **dict.fromkeys(("step", "steps"), ("steps", 1.0)),
    **dict.fromkeys(("run", "runs"), ("runs", 1.0)),
}
_PATTERN = re.compile(r"(\d[\d_]*(?:\.\d+)?(?:e\d{1,2})?)\s*([a-z]+)", re.ASCII | re.IGNORECASE)
MAX_AMOUNT = 1e12


@dataclass(frozen=True)
class Budget:
    """Limit of a search.

    Attributes:
        unit: What is limited.
        amount: Limit in this unit.
        text: The limit as written.
    """

    unit: Unit
    amount: float
    text: str


def parse_budget(text: str) -> Budget:
    """Parse a budget such as ``30m``, ``20_000steps`` or ``40runs``.

    Args:
        text: The budget.

    Raises:
        ConfigError: It is not a positive number with a unit.
    """
    match = _PATTERN.fullmatch(text.strip())
    unit, factor = _UNITS.get(match[2].lower(), (None, 0.0)) if match else (None, 0.0)
    amount = float(match[1].replace("_", "")) * factor if match else 0.0
    if unit is None or not 0 < amount <= MAX_AMOUNT or (unit != "seconds" and amount != int(amount)):
        raise ConfigError(
            f"search budget: {text!r} given; it must be a number with a unit: 90s, 30m, 2h, 1d (time), 20000steps"
            " (of all runs together) or 40runs (configurations)"
        )
    return Budget(unit, amount, text.strip())
