"""Scores of an ensemble beside those of its members."""

from __future__ import annotations

import pytest

from trainer.runs.ensemble_scores import compare_with_members


def test_gain_is_positive_where_the_ensemble_is_better() -> None:
    members = [{"nll": 0.5, "accuracy": 0.8}, {"nll": 0.7, "accuracy": 0.9}]
    compared = compare_with_members({"nll": 0.5, "accuracy": 0.8}, members, {})
    assert compared["mean"] == pytest.approx({"nll": 0.6, "accuracy": 0.85})
    assert compared["best"] == {"nll": 0.5, "accuracy": 0.9}
    assert compared["gain"] == pytest.approx({"nll": 0.1, "accuracy": -0.05})


def test_a_difference_by_rounding_is_no_gain() -> None:
    assert compare_with_members({"nll": 0.0875 * (1 + 1e-7)}, [{"nll": 0.0875}], {})["gain"] == {"nll": 0.0}
    assert compare_with_members({"nll": 0.0875 * (1 + 1e-5)}, [{"nll": 0.0875}], {})["gain"]["nll"] < 0
