"""Widths are scaled until a model has a given size, in the proportions of its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.engine.width_scaling import find_width_keys, solve_widths


def count_mlp(node: Mapping[str, Any]) -> float:
    """Return the number of parameters of an MLP from 10 features to 3 outputs."""
    sizes = [10, *node["hidden"], 3]
    return sum((first + 1) * second for first, second in pairwise(sizes))


@settings(deadline=None)
@given(target=st.integers(500, 50_000), hidden=st.lists(st.integers(4, 64), min_size=1, max_size=4))
def test_the_size_is_closest_to_the_target(target: int, hidden: list[int]) -> None:
    solution = solve_widths({"hidden": hidden}, ["hidden"], count_mlp, target)
    assert solution.size == count_mlp(solution.widths)
    last = solution.widths["hidden"][-1]
    unit = count_mlp({"hidden": [*solution.widths["hidden"][:-1], last + 1]}) - solution.size
    assert abs(solution.size - target) <= 0.51 * unit


def test_of_noisy_sizes_those_that_were_measured_together_decide() -> None:
    """Sizes that are measured one by one are up to 10 % wrong."""
    calls = count()

    def measure(node: Mapping[str, Any]) -> float:
        return count_mlp(node) * (1.1 if next(calls) % 2 else 0.9)

    def measure_together(nodes: Sequence[Mapping[str, Any]]) -> list[float]:
        return [count_mlp(node) for node in nodes]

    for target in (1000, 20_000, 300_000):
        solution = solve_widths({"hidden": [64, 32]}, ["hidden"], measure, target, measure_together)
        assert solution.size == count_mlp(solution.widths)
        assert solution.size == pytest.approx(target, rel=0.25)


def test_proportions_are_kept() -> None:
    first, second = solve_widths({"hidden": [64, 32]}, ["hidden"], count_mlp, 200_000).widths["hidden"]
    assert first / second == pytest.approx(2, rel=0.03)


def test_widths_remain_multiples_of_the_heads() -> None:
    node = {"width": 64, "hidden": 128, "heads": 4}

    def measure(values: Mapping[str, Any]) -> float:
        assert values["width"] % 8 == 0
        return 4 * values["width"] ** 2 + 2 * values["width"] * values["hidden"]

    solution = solve_widths(node, ["width", "hidden"], measure, 123_456)
    assert solution.size == pytest.approx(123_456, rel=0.01)


@pytest.mark.parametrize("multiple", [2, 8, 32])
def test_widths_that_the_model_rejects_are_avoided(multiple: int) -> None:
    def measure(values: Mapping[str, Any]) -> float:
        if values["width"] % multiple:
            raise ValueError("not divisible")
        return values["width"] ** 2

    assert solve_widths({"width": 64}, ["width"], measure, 40_000).widths["width"] == round(200 / multiple) * multiple


def test_a_model_that_rejects_every_width_raises() -> None:
    def reject(_: Mapping[str, Any]) -> float:
        raise ValueError("never")

    with pytest.raises(ValueError, match="never"):
        solve_widths({"width": 64}, ["width"], reject, 100)


def test_factors_may_be_any_number() -> None:
    solution = solve_widths(
        {"width_multiplier": 0.25}, ["width_multiplier"], lambda v: 1e6 * v["width_multiplier"], 5e5
    )
    assert solution.widths["width_multiplier"] == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("node", "keys"),
    [
        ({"hidden": [8, 4], "dropout": 0.5, "kernel": 3}, ["hidden"]),
        ({"hidden_size": 8, "num_layers": 2, "embed_size": None}, ["hidden_size"]),
        ({"hidden": [], "width": 0, "channels": "auto", "conv_size": True}, []),
    ],
)
def test_only_numbers_that_set_widths_are_scaled(node: dict[str, Any], keys: list[str]) -> None:
    assert find_width_keys(node) == keys


@pytest.mark.parametrize("size", [7.0, 1e12])
def test_a_size_out_of_reach_ends_the_search(size: float) -> None:
    assert solve_widths({"width": 8}, ["width"], lambda _: size, 1000).size == size
