"""Metrics of plugins: accepted sources, and messages for refused ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from trainer.metrics.computed import ComputedMetric, as_computed_metric, check_unique_names
from trainer.utils.errors import ConfigError


def hinge(predictions: Tensor, targets: Tensor) -> Tensor:
    return (1 - predictions * targets).clamp(min=0).mean()


hinge.higher_is_better = False  # type: ignore[attr-defined]


class Median:
    higher_is_better = True

    def compute(self, predictions: Tensor, targets: Tensor) -> Any:
        return np.median((predictions - targets).numpy())


class Named(Median):
    name = "middle"


def test_a_function_a_class_and_an_object_are_metrics() -> None:
    x, y = torch.tensor([0.5, 2.0, -1.0]), torch.tensor([1.0, 1.0, -1.0])
    metrics = [as_computed_metric(source) for source in (hinge, Median, Named())]
    assert [(m.name, m.higher_is_better) for m in metrics] == [("hinge", False), ("Median", True), ("middle", True)]
    assert [m.compute(x, y) for m in metrics] == [pytest.approx(0.5 / 3), 0.0, 0.0]
    assert as_computed_metric(metrics[0]) is metrics[0]
    assert [str(as_computed_metric(hinge, path)) for path in ("", "mine.hinge")] == ["hinge", "mine.hinge"]


def without_direction(*_: Tensor) -> float:
    return 0.0


class WithArguments(Median):
    def __init__(self, threshold: float):
        self.threshold = threshold


class NoCompute:
    higher_is_better = True


class InvalidDirection(Median):
    higher_is_better = "yes"  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (without_direction, "add without_direction.higher_is_better = False, or True"),
        (WithArguments, "must be built without arguments"),
        (NoCompute, r"is not a function and has no method compute\(predictions, targets\)"),
        (InvalidDirection, "must be True or False"),
        (type("Lost", (Median,), {"higher_is_better": None}), "add higher_is_better = False in the class"),
        (type("nll", (Median,), {}), "the name of a built-in metric, nll"),
    ],
)
def test_a_non_metric_is_refused(source: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_computed_metric(source)


def test_two_metrics_of_one_name_are_refused() -> None:
    check_unique_names([as_computed_metric(Median), as_computed_metric(Named)])
    with pytest.raises(ValueError, match="two metrics are called Median"):
        check_unique_names([as_computed_metric(Median), as_computed_metric(Median())])


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda x, _: x, r"returns a tensor \(3,\) for predictions \(3,\) and targets \(3,\); it must be one number"),
        (lambda *_: None, "returns None"),
        (lambda x, _: x[9], r"IndexError: .*test_computed.py, line \d+"),
        (lambda x, _, __: x, "TypeError: .*missing 1 required positional argument"),
    ],
)
def test_a_failing_metric_is_reported(function: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ComputedMetric("mine", True, function).compute(torch.zeros(3), torch.zeros(3))
