"""Widths of a model that are scaled together until it has a given size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

WIDTH_KEYS = (
    *("hidden_size", "hidden", "width", "widths", "embed_size", "channels", "conv_size", "conv_sizes", "head_size"),
    *("generator_hidden", "critic_hidden", "prior_width", "width_multiplier"),
)
"""Keys of a model that set the widths of its layers; depth, kernels and sizes of the data are never scaled."""
FEEDFORWARD_KEY = "hidden"
"""Key of the feed-forward layers of a transformer, which heads do not share."""
MULTIPLES = (1, 2, 4, 8, 16, 32)
"""Numbers that widths are made multiples of, in this order, if the model rejects other widths."""
MAX_FACTOR = 1024.0
PRECISION = 1e-6
"""Relative precision of the common factor."""
ROUGH_PRECISION = 0.1
"""Relative precision of the common factor where the size is measured with noise."""
MAX_REFINEMENT = 0.5
"""Largest share by which a single width is increased beyond the common factor."""


@dataclass(frozen=True)
class _Width:
    """A width of the model: a key, or an entry of a list.

    Args:
        key: Key of the model.
        index: Position in the list of the key; None if the key is a number.
        base: Its value in the configuration.
        multiple: Number that it must be a multiple of; 0 for a factor, which may be any number.
    """

    key: str
    index: int | None
    base: float
    multiple: int

    def scale(self, factor: float) -> float:
        """Return the width for a factor."""
        if not self.multiple:
            return round(self.base * factor, 4)
        return self.multiple * max(1, round(self.base * factor / self.multiple))


@dataclass(frozen=True)
class Solution:
    """Widths of a model of a given size.

    Args:
        widths: Values by key of the model.
        size: Size of the model with these widths.
    """

    widths: Mapping[str, Any]
    size: float


def find_width_keys(node: Mapping[str, Any]) -> list[str]:
    """Return the keys of a model that set the widths of its layers.

    Args:
        node: Configuration of the model.
    """
    return [key for key in WIDTH_KEYS if key in node and list_numbers(node[key])]


def solve_widths(
    node: Mapping[str, Any],
    keys: Sequence[str],
    measure: Callable[[Mapping[str, Any]], float],
    target: float,
    measure_together: Callable[[Sequence[Mapping[str, Any]]], list[float]] | None = None,
) -> Solution:
    """Find widths for which the size of a model is closest to a target, in about the proportions of its configuration.

    All widths are multiplied by one factor, which bisection finds. The remaining difference is filled by single
    widths, because those of attention, for instance, are multiples of the number of heads.

    Args:
        node: Configuration of the model.
        keys: Keys to scale.
        measure: Size of the model for values of the keys; it raises ValueError for widths that the model rejects.
        target: Size to reach.
        measure_together: Sizes that can be compared with each other, for values of the keys, if the size is measured
            with noise: then the factor is found roughly, and the closest of its neighbors is chosen.

    Raises:
        ValueError: The model rejects widths of every kind that is tried.
    """

    def solve(multiple: int) -> Solution:
        solver = _Solver(_list_widths(node, keys, multiple), measure)
        return solver.solve(target) if measure_together is None else solver.solve_roughly(target, measure_together)

    for multiple in MULTIPLES[:-1]:
        try:
            return solve(multiple)
        except ValueError:
            continue
    return solve(MULTIPLES[-1])


def list_numbers(value: Any) -> list[float]:
    """Return the positive numbers that a key sets, alone or in a list; empty if it has another value."""
    values = value if isinstance(value, list | tuple) else [value]
    is_numeric = all(isinstance(item, int | float) and not isinstance(item, bool) for item in values)
    return list(values) if is_numeric and all(item > 0 for item in values) else []


def _list_widths(node: Mapping[str, Any], keys: Sequence[str], multiple: int) -> list[_Width]:
    widths = []
    for key in keys:
        is_list = isinstance(node[key], list | tuple)
        for index, base in enumerate(list_numbers(node[key])):
            own = math.lcm(multiple, _find_divisor(node, key, base)) if isinstance(base, int) else 0
            widths.append(_Width(key, index if is_list else None, base, own))
    return widths


def _find_divisor(node: Mapping[str, Any], key: str, base: int) -> int:
    """Return the number that a width remains a multiple of.

    Heads share it equally; rotary and sinusoidal positions need an even number for each.
    """
    heads = node.get("heads")
    if not isinstance(heads, int) or key == FEEDFORWARD_KEY:
        return 1
    return next((number for number in (2 * heads, heads) if number and base % number == 0), 1)


class _Solver:
    """Search for the values of widths.

    Args:
        widths: Widths to scale.
        measure: Size of the model for values of the keys.
    """

    def __init__(self, widths: Sequence[_Width], measure: Callable[[Mapping[str, Any]], float]):
        self._widths = sorted(widths, key=lambda width: width.multiple, reverse=True)
        self._measure = cache(lambda values: float(measure(self._to_node(values))))

    def solve(self, target: float) -> Solution:
        """Return the widths whose size is closest to the target."""
        below, above = self._bisect(target, PRECISION)
        refined = self._refine(self._scale(below), target)
        steps = [_increase(refined, i, width.multiple) for i, width in enumerate(self._widths) if width.multiple]
        candidates = [refined, *steps, self._scale(above)]
        best = min(candidates, key=lambda values: abs(self._measure(values) - target))
        return Solution(self._to_node(best), self._measure(best))

    def solve_roughly(
        self, target: float, measure_together: Callable[[Sequence[Mapping[str, Any]]], list[float]]
    ) -> Solution:
        """Return the widths that are closest to the target when those around it are compared."""
        below, above = self._bisect(target, ROUGH_PRECISION)
        factors = (below / (1 + ROUGH_PRECISION), below, above, above * (1 + ROUGH_PRECISION))
        nodes = [self._to_node(values) for values in dict.fromkeys(map(self._scale, factors))]
        sizes = measure_together(nodes)
        best = min(range(len(nodes)), key=lambda index: abs(sizes[index] - target))
        return Solution(nodes[best], sizes[best])

    def _bisect(self, target: float, precision: float) -> tuple[float, float]:
        """Return close factors with a size of at most and at least the target, as far as there are any."""
        below, above = self._bracket(target)
        while above / below > 1 + precision:
            middle = math.sqrt(below * above)
            if self._measure(self._scale(middle)) <= target:
                below = middle
            else:
                above = middle
        return below, above

    def _bracket(self, target: float) -> tuple[float, float]:
        """Return factors with a size of at most and at least the target, as far as there are any."""
        below = above = 1.0
        while self._measure(self._scale(above)) < target and above < MAX_FACTOR:
            above *= 2
        while self._measure(self._scale(below)) > target and below > 1 / MAX_FACTOR:
            below /= 2
        return below, above

    def _refine(self, values: tuple[float, ...], target: float) -> tuple[float, ...]:
        """Increase single widths, the finest last, as long as the size does not exceed the target."""
        for position, width in enumerate(self._widths):
            if not width.multiple or self._measure(values) > target:
                continue
            low, high = 0, max(1, int(MAX_REFINEMENT * values[position] / width.multiple))
            while low < high:
                middle = (low + high + 1) // 2
                if self._measure(_increase(values, position, middle * width.multiple)) <= target:
                    low = middle
                else:
                    high = middle - 1
            values = _increase(values, position, low * width.multiple)
        return values

    def _scale(self, factor: float) -> tuple[float, ...]:
        return tuple(width.scale(factor) for width in self._widths)

    def _to_node(self, values: tuple[float, ...]) -> dict[str, Any]:
        node: dict[str, Any] = {}
        for width, value in sorted(zip(self._widths, values, strict=True), key=lambda pair: pair[0].index or 0):
            if width.index is None:
                node[width.key] = value
            else:
                node.setdefault(width.key, []).append(value)
        return node


def _increase(values: tuple[float, ...], position: int, amount: float) -> tuple[float, ...]:
    return (*values[:position], values[position] + amount, *values[position + 1 :])
