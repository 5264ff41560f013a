"""Samplers: which points of a space a search tries, as functions of the seed, the number and finished trials."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple, Protocol

from trainer.config.search_space import Dimension, Interval, Space

MAX_DRAWS = 2**16
"""Number of draws after which a sampler stops to look for a point that it has not drawn before."""

Point = dict[str, str]
"""Value of every key of a space."""


class Observation(NamedTuple):
    """Point with its score.

    Attributes:
        point: Value of each key.
        score: Validation score; None if the run has failed, or the point was refused.
    """

    point: Mapping[str, str]
    score: float | None


class Sampler(Protocol):
    """Chooses points."""

    def propose(self, count: int, observed: Sequence[Observation]) -> list[Point]:
        """Return further points, fewer if there are no others.

        Args:
            count: Number of points.
            observed: Points so far in order of their numbers, with scores.
        """


class SequenceSampler:
    """Sampler of a fixed sequence of points, which does not depend on scores.

    Args:
        space: The space.
        points: The sequence.
    """

    def __init__(self, space: Space, points: Iterator[Point]):
        self._points = points

    def propose(self, count: int, observed: Sequence[Observation]) -> list[Point]:
        return list(itertools.islice(self._points, count))


def list_grid(space: Space) -> Iterator[Point]:
    """Yield every point of a finite space, the last key changing first.

    Args:
        space: The space.
    """
    keys = [dimension.key for dimension in space.dimensions]
    for values in itertools.product(*map(list_values, space.dimensions)):
        yield dict(zip(keys, values, strict=True))


def list_values(dimension: Dimension) -> Sequence[str]:
    """Return the values of a key that has a finite number of them.

    Args:
        dimension: The key.
    """
    if isinstance(dimension, Interval):
        return [str(number) for number in range(int(dimension.low), int(dimension.high) + 1)]
    return dimension.values


def draw_random(space: Space, seed: int) -> Iterator[Point]:
    """Yield independent points, each once, until no other is found.

    Args:
        space: The space.
        seed: Seed of the random numbers.
    """
    import numpy as np

    generator = np.random.default_rng(seed)
    yield from _drop_repeated(space, (generator.random(len(space.dimensions)).tolist() for _ in range(MAX_DRAWS)))


def draw_sobol(space: Space, seed: int) -> Iterator[Point]:
    """Yield the points of a scrambled Sobol sequence, each once, until no other is found.

    They cover the space more evenly than independent ones, and any number of the first ones does.

    Args:
        space: The space.
        seed: Seed of the scrambling.

    References:
        Owen, "Scrambling Sobol' and Niederreiter-Xing points", 1998.
    """
    yield from _drop_repeated(space, _iter_sobol(len(space.dimensions), seed))


def _iter_sobol(num_dimensions: int, seed: int) -> Iterator[list[float]]:
    from scipy.stats import qmc

    # All at once, in a power of two: the sequence is balanced there, and scipy warns of other numbers.
    sequence = qmc.Sobol(num_dimensions, scramble=True, rng=seed)
    drawn = 0
    while drawn < MAX_DRAWS:
        block = sequence.random(max(drawn, 64))
        drawn += len(block)
        yield from block.tolist()


def _drop_repeated(space: Space, positions: Iterator[list[float]]) -> Iterator[Point]:
    """Yield the points at positions in the unit cube that differ from those before; at the end those never drawn."""
    size = space.size
    found: set[tuple[str, ...]] = set()
    for position in positions:
        if size is not None and len(found) >= size:
            return
        point = {item.key: item.pick(u) for item, u in zip(space.dimensions, position, strict=True)}
        values = tuple(point.values())
        if values not in found:
            found.add(values)
            yield point
    if size is not None and size <= MAX_DRAWS:
        yield from (point for point in list_grid(space) if tuple(point.values()) not in found)
