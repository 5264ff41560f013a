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
def test_a_broken_override_is_quoted_as_a_scalar_or_as_entries_of_a_list(text: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as caught:
        overrides.parse_overrides([text])
    assert str(caught.value).split("\n")[0].endswith(f"quote special characters: {suggestion}")
