"""Texts of configurations are those of OmegaConf, which reads them back as they were."""

from __future__ import annotations

import math
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.helpers.lab import configure
from trainer.utils.yaml_writer import to_yaml

TREE: dict[str, Any] = {
    "numbers": [1, -2, 0.1, 1e-5, 1e30, float("inf"), float("-inf"), True, False, None],
    "like_numbers": ["1", "1e-3", "1_000", "-.5", "nan", "inf", "0x1f", "0o7", "12:30:45", "2020-01-01", " 1 "],
    "like_booleans": ["y", "N", "yes", "Off", "true", "null", "~", ""],
    "text": ["ünï", "a: b", "- x", "# no comment", "two\nlines", "'quoted'", "word " * 60, "${seed}", "???", "\x07"],
    "nested": {"empty": {}, "none": [], "deep": [{"a": [1, [2]]}]},
    "1e3": 1,
    "on": 2,
}


def test_text_is_that_of_omegaconf() -> None:
    text = to_yaml(TREE)
    assert text == OmegaConf.to_yaml(OmegaConf.create(TREE))
    assert OmegaConf.to_container(OmegaConf.create(text)) == TREE


def test_not_a_number_is_read_back() -> None:
    value = OmegaConf.create(to_yaml({"value": float("nan")})).value
    assert math.isnan(value)


@pytest.mark.parametrize("overrides", [("model=lstm", "data=synthetic_seq"), ("model=wgan_gp", "data=ring")])
def test_configurations_are_read_back(overrides: tuple[str, ...]) -> None:
    tree = configure(*overrides)
    assert OmegaConf.to_container(OmegaConf.create(to_yaml(tree))) == tree


def test_value_that_occurs_twice_is_written_twice() -> None:
    shared = [1, 2]
    assert to_yaml({"a": shared, "b": shared}) == "a:\n- 1\n- 2\nb:\n- 1\n- 2\n"
