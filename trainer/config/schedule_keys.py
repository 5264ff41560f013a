"""Values of schedules that depend on the optimizer and on global keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainer.config import registry

SCHEDULE_FREE = "schedule_free"
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
    averaging = registry.list_options("scheduler")[SCHEDULE_FREE].class_path
    if ema is not None and scheduler.get("_target_") == averaging:
        problems.append(f"ema: {ema} given; scheduler={SCHEDULE_FREE} averages the weights itself: set ema=null")
    return problems
