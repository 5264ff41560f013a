"""Messages for values of the wrong type."""

from __future__ import annotations

import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from tests.helpers.refusals import collect_problems


@pytest.mark.parametrize(("value", "text"), [("1.5", "1.5"), ("true", "true"), ("2019", "2019")])
def test_number_for_a_text_key_is_reported_in_quoted_form(value: str, text: str) -> None:
    (message,) = collect_problems(f"monitor={value}")
    assert "given; it must be text or null; " in message
    suggestion = message.partition("or null; ")[2].removesuffix(" is text")
    (word,) = shlex.split(suggestion)
    assert OverridesParser.create().parse_override(word).value() == text


def test_no_quoted_form_is_suggested_for_a_number_key() -> None:
    assert collect_problems("seed=1.5") == ["seed: 1.5 given; it must be a whole number >= 0"]
