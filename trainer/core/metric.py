"""Metrics: name and direction."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """Name and direction of a metric.

    Args:
        name: Key in the result of ``Task.metrics``, and the value of ``monitor=NAME``.
        higher_is_better: True for an accuracy, False for a loss.

    Raises:
        ValueError: The name is empty or contains white space, or ``higher_is_better`` is not a bool.
    """

    name: str
    higher_is_better: bool

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name or any(letter.isspace() for letter in self.name):
            raise ValueError(f"the name of a metric is {self.name!r}; it must be a text without white space")
        if not isinstance(self.higher_is_better, bool):
            raise ValueError(f"higher_is_better of {self.name} is {self.higher_is_better!r}; it must be True or False")
