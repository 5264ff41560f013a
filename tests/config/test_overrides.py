"""Overrides that Hydra's grammar rejects, with the quotes that they need."""

from __future__ import annotations

import pytest

from trainer.config import overrides
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("data.target=Fläche", "'data.target=\"Fläche\"'"),
        ("data.drop_columns=[Fläche]", "'data.drop_columns=[\"Fläche\"]'"),
        ("data.drop_columns=[Fläche, id,a b]", '\'data.drop_columns=["Fläche",id,"a b"]\''),
        ("data.path=it's", '"data.path=\\"it\'s\\""'),
        ("data.path=[ä,[b]]", "'key=\"[a\"'"),
    ],
)
def test_rejected_override_is_reported_in_quoted_form(text: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as excinfo:
        overrides.parse_overrides([text])
    assert str(excinfo.value).split("\n")[0].endswith(f"quote special characters: {suggestion}")
