"""What is said of a value of another type than a key takes."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.helpers.refusals import collect_problems


@pytest.mark.parametrize(("value", "text"), [("1.5", "1.5"), ("true", "true"), ("2019", "2019")])
def test_a_number_given_for_a_string_is_reported_with_its_quoted_form(value: str, text: str) -> None:
    (said,) = collect_problems(f"monitor={value}")
    assert "given; it must be text or null; " in said
    advised = said.partition("or null; ")[2].removesuffix(" is text")
    (word,) = shlex.split(advised)
    assert OverridesParser.create().parse_override(word).value() == text


def test_no_text_is_advised_where_none_is_taken() -> None:
    assert collect_problems("seed=1.5") == ["seed: 1.5 given; it must be a whole number >= 0"]
