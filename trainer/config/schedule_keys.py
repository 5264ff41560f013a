"""Values of schedules that depend on the optimizer and on global keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

SCHEDULE_FREE = "trainer.optim.stable_schedules.ScheduleFree"
LOWEST_RATES = ("min_lr", "eta_min")
"""Options of schedules for the lowest learning rate."""


def find_schedule_problems(tree: Mapping[str, Any]) -> list[str]:
    """Return what a schedule cannot be combined with.

    Args:
        tree: Resolved configuration of a command line, each key of which has a valid type.
    """
    scheduler, lr, ema = tree["scheduler"], tree["optimizer"].get("lr"), tree.get("ema")
    problems = [
        f"scheduler.{key}: {lowest} given; it must not be above optimizer.lr, which is {lr}"
        for key in LOWEST_RATES
        if isinstance(lowest := scheduler.get(key), int | float) and isinstance(lr, int | float) and lowest > lr
    ]
    if scheduler.get("_target_") == SCHEDULE_FREE and ema is not None:
        problems.append(f"ema: {ema} given; scheduler=schedule_free averages the weights itself: set ema=null")
    return problems
