"""Titles of the columns of predictions."""

from __future__ import annotations

import numpy as np

from trainer.core import prediction_columns
from trainer.core.prediction_columns import Column

NUMBERS = np.arange(6.0).reshape(3, 2)


def test_series_have_their_names_unless_these_are_taken() -> None:
    names = ["load", "step"]
    table: dict[str, Column] = {"step": range(3)}
    for field in ("value", "lower"):
        table |= prediction_columns.make_series_columns(field, NUMBERS, names, table)
    assert list(table) == ["step", "load", "value_step", "lower_load", "lower_step"]
    assert np.array_equal(table["value_step"], [1, 3, 5])
    single = prediction_columns.make_series_columns("value", NUMBERS[:, :1], ["load"], ())
    assert list(single) == ["load"]
    assert list(prediction_columns.make_series_columns("lower", NUMBERS[:, :1], ["load"], ())) == ["lower"]
    assert list(prediction_columns.make_series_columns("value", NUMBERS, (), ())) == ["value_0", "value_1"]


def test_numbers_have_one_column_or_one_for_each_name() -> None:
    assert list(prediction_columns.make_number_columns("value", NUMBERS[:, 0], ["a", "b"])) == ["value"]
    assert list(prediction_columns.make_number_columns("value", NUMBERS, ["a", "b"])) == ["value_a", "value_b"]
    assert list(prediction_columns.make_number_columns("value", NUMBERS, ["a"])) == ["value_0", "value_1"]


def test_identifiers_with_the_title_of_a_prediction_get_another_one() -> None:
    joined = prediction_columns.join_identifiers({"row": [1], "label": ["a"]}, {"label": ["b"]})
    assert joined == {"row": [1], "label (input)": ["a"], "label": ["b"]}
