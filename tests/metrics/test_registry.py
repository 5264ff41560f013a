"""Names, directions and labels of metrics, and comparison of scores."""

from __future__ import annotations

import math
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer import Metric
from trainer.metrics.registry import (
    BUILTIN_METRICS,
    F1_PER_CLASS,
    find_builtin_metric,
    find_metric,
    find_task_metric,
    get_label,
    get_monitor_name,
    is_better,
    is_proportion,
)


def test_every_built_in_metric_has_a_direction() -> None:
    def find_directions(*names: str) -> set[bool | None]:
        metrics = [find_builtin_metric(name) for name in names]
        return {None if metric is None else metric.higher_is_better for metric in metrics}

    assert {name: metric.name for name, metric in BUILTIN_METRICS.items()} == {name: name for name in BUILTIN_METRICS}
    assert find_directions("accuracy", "iou_cat", "f1_dog", "hits_at_10", "elbo", "r2") == {True}
    assert find_directions("mse", "nll", "loss", "frechet", "energy_distance") == {False}
    assert find_directions("lr", "hit", "iou") == {None}


def test_metric_of_a_task_precedes_a_built_in_one() -> None:
    def make_task(monitor: Any, *reported: Metric) -> Any:
        return SimpleNamespace(monitor=monitor, reported_metrics=reported)

    pinball, gap = Metric("pinball", higher_is_better=False), Metric("gap", higher_is_better=True)
    task = make_task(pinball, gap)
    assert (find_task_metric(task, "pinball"), find_task_metric(task, "gap")) == (pinball, gap)
    assert find_task_metric(task, "mse") == BUILTIN_METRICS["mse"]
    assert find_task_metric(task, "pinbal") is None
    assert (get_monitor_name(task), get_monitor_name(make_task("mse"))) == ("pinball", "mse")


def test_stored_direction_precedes_a_built_in_one() -> None:
    stored = {"gap": True, "pinball": False}
    assert find_metric("gap", stored) == Metric("gap", higher_is_better=True)
    assert find_metric("pinball", stored) == Metric("pinball", higher_is_better=False)
    assert find_metric("accuracy", {}) == BUILTIN_METRICS["accuracy"]
    assert find_metric("pinball", {}) is None


def test_labels_and_proportions() -> None:
    assert [get_label(name) for name in ("f1", "accuracy", "pinball")] == ["f1 (macro)", "accuracy", "pinball"]
    assert [is_proportion(name) for name in ("accuracy", "exact_match", "f1", "pinball")] == [True, True, False, False]


@pytest.mark.parametrize(("name", "higher"), [("", True), ("a b", True), (3, True), ("pinball", 1), ("pinball", None)])
def test_invalid_metric_raises(name: Any, higher: Any) -> None:
    with pytest.raises(ValueError, match="name of a metric" if higher is True else "must be True or False"):
        Metric(name, higher)


def test_the_public_name_and_the_registry_need_no_torch() -> None:
    code = "import sys, trainer; trainer.Metric; import trainer.metrics.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("value", "best", "name", "expected"),
    [
        (0.5, None, "accuracy", True),
        (0.6, 0.5, "accuracy", True),
        (0.5, 0.5, "accuracy", False),
        (0.4, 0.5, "accuracy", False),
        (0.4, 0.5, "mse", True),
        (0.6, 0.5, "mse", False),
        (-1.0, None, "elbo", True),
        (0.0, -1.0, "elbo", True),
        (math.nan, None, "accuracy", False),
        (math.nan, 0.5, "mse", False),
        (math.inf, 0.5, "accuracy", False),
        (-math.inf, 0.5, "mse", False),
    ],
)
def test_is_better_follows_the_direction_and_refuses_nan(
    value: float, best: float | None, name: str, expected: bool
) -> None:
    assert is_better(value, best, BUILTIN_METRICS[name]) is expected


@settings(deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), max_size=20), st.sampled_from(["accuracy", "mse"]))
def test_best_of_a_sequence_is_its_best_finite_score(scores: list[float], name: str) -> None:
    best: float | None = None
    for score in scores:
        best = score if is_better(score, best, BUILTIN_METRICS[name]) else best
    numbers = [score for score in scores if math.isfinite(score)]
    assert best == ((max if name == "accuracy" else min)(numbers) if numbers else None)


def test_class_names_with_white_space_give_distinct_metric_names() -> None:
    names = F1_PER_CLASS.name_members(["New York", "New_York", "New\tYork", "a b", "c", 3])
    assert names == ["f1_New_York_2", "f1_New_York", "f1_New_York_3", "f1_a_b", "f1_c", "f1_3"]
    assert all(find_builtin_metric(name) == Metric(name, higher_is_better=True) for name in names)
