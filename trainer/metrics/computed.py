"""User-defined metrics, computed from the predictions and targets of all rows of a split."""

from __future__ import annotations

import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from trainer.core.metric import Metric
from trainer.metrics.registry import BUILTIN_METRICS
from trainer.utils.errors import ConfigError, UserError


@dataclass(frozen=True)
class ComputedMetric(Metric):
    """A metric that a function computes from all rows at once.

    Args:
        name: Name of the metric.
        higher_is_better: Direction of the metric.
        function: Function from predictions and targets, with one row per counted target, to a number.
        path: Dotted name in a configuration, if any.
    """

    function: Callable[[Tensor, Tensor], Any]
    path: str = ""

    def __str__(self) -> str:
        return self.path or self.name

    def compute(self, predictions: Tensor, targets: Tensor) -> float:
        """Return the value for all rows of a split.

        Args:
            predictions: Predictions ``(N, ...)``.
            targets: Targets ``(N, ...)``.

        Raises:
            ConfigError: The function raises, or returns something other than one number.
        """
        arguments = f"predictions {tuple(predictions.shape)} and targets {tuple(targets.shape)}"
        try:
            value = self.function(predictions, targets)
        except UserError:
            raise
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)[1:] or traceback.extract_tb(error.__traceback__)
            location = next((f" ({part.filename}, line {part.lineno})" for part in frames), "")
            reason = f"{type(error).__name__}: {error}"
            raise ConfigError(f"metric {self}: fails for {arguments}: {reason}{location}") from error
        try:
            return float(value)
        except (TypeError, ValueError, RuntimeError) as error:
            returned = f"a tensor {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)[:60]
            raise ConfigError(f"metric {self}: returns {returned} for {arguments}; it must be one number") from error


def as_computed_metric(source: Any, path: str = "") -> ComputedMetric:
    """Convert a class, an object or a function to a metric.

    Args:
        source: A function ``f(predictions, targets)`` with the attribute ``higher_is_better``, or a class or object
            with that attribute and a method ``compute(predictions, targets)``. The name of the metric is its attribute
            ``name``, or else the name of the function or class.
        path: Dotted name in a configuration.

    Raises:
        ValueError: ``higher_is_better`` is missing, it cannot be called or built, or a built-in metric has the name.
    """
    if isinstance(source, ComputedMetric):
        return source
    label = path or getattr(source, "__name__", type(source).__name__)
    try:
        instance = source() if isinstance(source, type) else source
    except TypeError as error:
        raise ValueError(f"{label} must be built without arguments ({error})") from error
    function = getattr(instance, "compute", instance)
    if not callable(function):
        raise ValueError(f"{label} is not a function and has no method compute(predictions, targets)")
    name: Any = getattr(instance, "name", None) or getattr(source, "__name__", type(source).__name__)
    higher_is_better = getattr(instance, "higher_is_better", None)
    if higher_is_better is None:
        example = (
            f"{name}.higher_is_better = False" if function is instance else "higher_is_better = False in the class"
        )
        raise ValueError(f"{label} does not declare whether higher is better; add {example}, or True")
    if name in BUILTIN_METRICS:
        raise ValueError(f"{label} has the name of a built-in metric, {name}; give it another one")
    return ComputedMetric(name, higher_is_better, function, path)


def check_unique_names(metrics: Sequence[ComputedMetric]) -> None:
    """Check that metrics have distinct names.

    Raises:
        ValueError: Two metrics have the same name.
    """
    duplicates = [name for name, count in Counter(metric.name for metric in metrics).items() if count > 1]
    if duplicates:
        raise ValueError(f"two metrics are called {duplicates[0]}")
