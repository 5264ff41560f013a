"""Tree-structured Parzen estimator, by the ask-and-tell interface of optuna (extra ``search``).

Its state is rebuilt for every batch from the scores of the finished trials in order of their numbers, so that a search
that was killed goes on with the same proposals. A batch has a fixed size, so that they do not depend on the number of
workers. Points that were refused or whose runs have failed count as worse than all others.

References:
    Bergstra et al., "Algorithms for hyper-parameter optimization", NeurIPS 2011.
    Watanabe, "Tree-structured Parzen estimator: understanding its algorithm components", 2023.
"""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from trainer.config.search_space import Choice, Dimension, Interval, Space
from trainer.search.samplers import Observation, Point, draw_random, draw_sobol
from trainer.utils.errors import ConfigError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

NUM_STARTUP = 10
"""Number of trials of a Sobol sequence before the first proposals."""
BATCH_SIZE = 4
"""Number of trials that are proposed together."""
MAX_ATTEMPTS = 50
"""Number of proposals in a row that were tried before, after which a random point is taken."""


class TPESampler:
    """Sampler that prefers points near good ones.

    Args:
        space: The space.
        seed: Seed of the random numbers.
        higher_is_better: Direction of the scores.

    Raises:
        ConfigError: optuna is not installed.
    """

    def __init__(self, space: Space, seed: int, *, higher_is_better: bool = False):
        check_optuna()
        self.space, self.seed, self.higher_is_better = space, seed, higher_is_better
        self._startup = draw_sobol(space, seed)
        self._found: set[tuple[str, ...]] = set()

    def propose(self, count: int, observed: Sequence[Observation]) -> list[Point]:
        self._found.update(tuple(item.point.values()) for item in observed)
        if sum(item.score is not None for item in observed) < NUM_STARTUP:
            points = list(itertools.islice(filter(self._is_new, self._startup), count))
        else:
            points = self._ask(count, observed)
        self._found.update(tuple(point.values()) for point in points)
        return points

    def _is_new(self, point: Point) -> bool:
        return tuple(point.values()) not in self._found

    def _ask(self, count: int, observed: Sequence[Observation]) -> list[Point]:
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        distributions = {item.key: make_distribution(item) for item in self.space.dimensions}
        # Another seed for each call: points that were refused leave the scores as they are.
        seed = self.seed + len(self._found)
        sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=1)
        directions = optuna.study.StudyDirection
        direction = directions.MAXIMIZE if self.higher_is_better else directions.MINIMIZE
        study = optuna.create_study(sampler=sampler, direction=direction)
        for (point, _), score in zip(observed, self._fill_scores(observed), strict=True):
            params = {item.key: encode_parameter(item, point[item.key]) for item in self.space.dimensions}
            study.add_trial(optuna.trial.create_trial(params=params, distributions=dict(distributions), value=score))
        proposed: dict[tuple[str, ...], Point] = {}
        for _ in range(MAX_ATTEMPTS * count):
            if len(proposed) == count:
                break
            params = study.ask(dict(distributions)).params
            point = {item.key: decode_parameter(item, params[item.key]) for item in self.space.dimensions}
            if self._is_new(point):
                proposed.setdefault(tuple(point.values()), point)
        others = filter(self._is_new, draw_random(self.space, seed))
        rest = (point for point in others if tuple(point.values()) not in proposed)
        return [*proposed.values(), *itertools.islice(rest, count - len(proposed))]

    def _fill_scores(self, observed: Sequence[Observation]) -> list[float]:
        """Return the score of each point, for one without a score one that is worse than all others."""
        scores = [item.score for item in observed if item.score is not None]
        low, high = min(scores), max(scores)
        margin = high - low or 1.0
        worst = low - margin if self.higher_is_better else high + margin
        return [worst if item.score is None else item.score for item in observed]


def check_optuna() -> None:
    """Raise ConfigError if optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise ConfigError("search=tpe needs the package optuna; install it by: pip install 'train-zoo[search]'")


def make_distribution(dimension: Dimension) -> BaseDistribution:
    """Return the distribution of a key; a list of numbers in ascending order is one of places in it.

    Args:
        dimension: The key.
    """
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        if _is_ordered(dimension):
            return IntDistribution(0, len(dimension.values) - 1)
        return CategoricalDistribution(dimension.values)
    if dimension.is_integer:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.is_log)
    return FloatDistribution(dimension.low, dimension.high, log=dimension.is_log)


def encode_parameter(dimension: Dimension, value: str) -> Any:
    """Return the parameter of optuna for a value.

    Args:
        dimension: The key.
        value: Its value as on the command line.
    """
    if isinstance(dimension, Choice):
        return dimension.values.index(value) if _is_ordered(dimension) else value
    return int(value) if dimension.is_integer else float(value)


def decode_parameter(dimension: Dimension, parameter: Any) -> str:
    """Return the value of a key for a parameter of optuna.

    Args:
        dimension: The key.
        parameter: The parameter.
    """
    if isinstance(dimension, Interval):
        return dimension.format(float(parameter))
    return dimension.values[parameter] if _is_ordered(dimension) else str(parameter)


def _is_ordered(dimension: Choice) -> bool:
    codes = [dimension.encode(value) for value in dimension.values]
    return dimension.is_numeric and codes == sorted(codes) and len(codes) > 1
