"""The key ``budget``: seconds of training from which a run fixes its number of steps, as ``max_steps``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from trainer.utils.errors import ConfigError
from trainer.utils.text import format_count

if TYPE_CHECKING:
    from trainer.config.run_config import Config

UNIT_SECONDS: Mapping[str, int] = {"d": 86400, "h": 3600, "m": 60, "s": 1}


def parse_seconds(budget: str | float) -> float:
    """Return the seconds of a budget such as ``10m``, ``1h30m`` or 90.

    Args:
        budget: Checked value of the key.
    """
    if not isinstance(budget, str):
        return float(budget)
    return sum(float(number) * UNIT_SECONDS[unit] for number, unit in re.findall(r"([0-9.]+)([smhd])", budget))


def format_budget(seconds: float) -> str:
    """Return the text by which equal budgets are equal: ``1m30s`` for ``90s``, ``1.5m`` and 90.

    Args:
        seconds: The budget, of which microseconds count.
    """
    rest, text = max(1, round(seconds * 1e6)), ""
    for unit, size in UNIT_SECONDS.items():
        count, rest = divmod(rest, round(size * 1e6)) if unit != "s" else (rest / 1e6, 0)
        text += f"{count:.6f}".rstrip("0").rstrip(".") + unit if count else ""
    return text


def with_equal_text(tree: Mapping[str, Any], resolved: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration in which equal budgets have the same text, unless it is written with an interpolation.

    Args:
        tree: Configuration as it is saved, or resolved.
        resolved: The same with all interpolations resolved.
    """
    budget = resolved.get("budget")
    if budget is None or tree.get("budget") != budget:
        return dict(tree)
    return {**tree, "budget": format_budget(parse_seconds(budget))}


def is_unfixed(tree: Mapping[str, Any]) -> bool:
    """Return whether a configuration has a budget from which the number of steps has yet to be fixed.

    Args:
        tree: Resolved configuration, or that of a saved run.
    """
    return tree.get("budget") is not None and tree.get("max_steps") is None


def select_identity(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration that identifies a run: with fixed steps, it is one of so many steps.

    Args:
        tree: Resolved configuration.
    """
    return with_equal_text(tree, tree) if is_unfixed(tree) else {key: tree[key] for key in tree if key != "budget"}


def with_fixed_steps(config: Config, steps: int) -> Config:
    """Return a configuration with the number of steps that its budget allows.

    Args:
        config: Configuration of a run with a budget.
        steps: The number of steps.
    """
    fixed = {"max_steps": steps}
    settings = replace(config.settings, max_steps=steps)
    return replace(config, tree={**config.tree, **fixed}, raw={**config.raw, **fixed}, settings=settings)


def without_steps(config: Config) -> Config:
    """Return the configuration of a run with a budget as it was before its steps were fixed."""
    return replace(config, tree={**config.tree, "max_steps": None})


def with_saved_steps(config: Config, saved_config: Config) -> Config:
    """Return the configuration of a command line with the steps that a saved run has fixed for the same budget.

    Args:
        config: Configuration of the command line.
        saved_config: Configuration of the run that it resumes.

    Raises:
        ConfigError: The run has another budget, or none.
    """
    if not is_unfixed(config.tree):
        return config
    budget, saved_budget = config.settings.budget, saved_config.settings.budget
    assert budget is not None
    if saved_budget is None or parse_seconds(budget) != parse_seconds(saved_budget):
        saved_steps = saved_config.settings.max_steps
        length = "" if saved_steps is None else f" of {format_count(saved_steps, 'step')}"
        given = "without a budget" if saved_budget is None else f"with budget={saved_budget}"
        raise ConfigError(
            f"budget: {budget} given, but {saved_config.run_dir} is a run{length} {given}; a resumed run keeps its"
            " length, max_steps=N makes it longer"
        )
    steps = saved_config.settings.max_steps
    return config if steps is None else with_fixed_steps(config, steps)


def drop_unused_length(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with those of ``epochs``, ``max_steps`` and ``budget`` that decide the length of its run.

    Args:
        config: Global keys, and others.
    """
    unset = {key for key in ("max_steps", "budget") if config.get(key) is None}
    unused = unset if len(unset) == 2 else {*unset, "epochs"}
    return {key: value for key, value in config.items() if key not in unused}
