"""Options of a search, checked before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from trainer.config.search_space import Interval, Space
from trainer.search.budget import Budget, parse_budget
from trainer.search.tpe_sampler import check_optuna
from trainer.utils.errors import ConfigError
from trainer.utils.suggest import did_you_mean

Method = Literal["grid", "random", "sobol", "asha", "tpe"]
METHODS: Sequence[str] = get_args(Method)
DEFAULT_METHOD, DEFAULT_SEEDS, DEFAULT_FINALISTS = "sobol", 3, 2
MAX_TRIALS = 5000
"""Maximum number of configurations of a search; all are composed and checked before the first one runs."""


@dataclass(frozen=True)
class SearchOptions:
    """Options of a search.

    Attributes:
        method: How points are chosen.
        budget: Limit; None for all points of a grid.
        seeds: Number of seeds of each finalist.
        finalists: Number of configurations that are trained with all seeds.
        search_seed: Seed of the choice of points.
    """

    method: str = DEFAULT_METHOD
    budget: Budget | None = None
    seeds: int = DEFAULT_SEEDS
    finalists: int = DEFAULT_FINALISTS
    search_seed: int = 0

    @property
    def is_promoting(self) -> bool:
        """Whether runs pause, and only the best ones continue."""
        return self.method == "asha"

    @property
    def time_limit(self) -> float | None:
        """Limit in seconds; None if there is none."""
        return self.budget.amount if self.budget is not None and self.budget.unit == "seconds" else None

    def describe(self) -> dict[str, object]:
        """Return the options as plain values."""
        budget = None if self.budget is None else self.budget.text
        names = ("method", "seeds", "finalists", "search_seed")
        return {name: getattr(self, name) for name in names} | {"budget": budget}


def make_options(
    search: str = DEFAULT_METHOD,
    budget: str | None = None,
    seeds: int = DEFAULT_SEEDS,
    finalists: int = DEFAULT_FINALISTS,
    search_seed: int = 0,
) -> SearchOptions:
    """Check the options of a command line that do not depend on the space.

    Args:
        search: Method, how points are chosen.
        budget: Limit as written; None for none.
        seeds: Number of seeds of each finalist.
        finalists: Number of configurations that are trained with all seeds.
        search_seed: Seed of the choice of points.

    Raises:
        ConfigError: A value is invalid, or a package is missing; all problems are listed.
    """
    problems: list[str] = []
    if search not in METHODS:
        hint = did_you_mean(search, METHODS) or ";"
        problems.append(f"search: {search!r} given{hint} one of {', '.join(METHODS)}")
    limit = None
    try:
        limit = None if budget is None else parse_budget(budget)
    except ConfigError as error:
        problems += error.problems
    if problems:
        raise ConfigError(*problems)
    if search == "tpe":
        check_optuna()
    return SearchOptions(search, limit, seeds, finalists, search_seed)


def check_space(options: SearchOptions, space: Space) -> None:
    """Check that a method can search a space.

    Args:
        options: Options of the search.
        space: The space.

    Raises:
        ConfigError: A grid has an interval or a budget, or another method has no budget.
    """
    problems: list[str] = []
    if options.method == "grid":
        problems += [
            f"{item.key}: a grid has no values of an interval; list them ({item.key}={item.low:g},{item.high:g}), or"
            " use search=sobol"
            for item in space.dimensions
            if isinstance(item, Interval) and not item.is_integer
        ]
        if options.budget is not None:
            problems.append(
                f"search budget: a grid trains all its points; search=sobol or search=asha stays within"
                f" {options.budget.text}"
            )
        if (space.size or 0) > MAX_TRIALS:
            problems.append(f"search: this grid has {space.size:,} points; at most {MAX_TRIALS:,}, or search=sobol")
    elif options.budget is None:
        problems.append(
            "search budget: missing; it says how long to search: budget=30m (time), budget=20000steps (of all runs"
            " together) or budget=40runs (configurations)"
        )
    elif options.budget.unit == "runs" and options.budget.amount > MAX_TRIALS:
        problems.append(f"search budget: {options.budget.text} given; at most {MAX_TRIALS:,} configurations")
    if problems:
        raise ConfigError(*problems)
