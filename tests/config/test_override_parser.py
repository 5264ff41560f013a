"""Overrides that Hydra's grammar rejects, with the quotes that they need."""

from __future__ import annotations

import pytest

from trainer.config import override_parser
from trainer.utils.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "suggestion"),
    [
        ("data.target=Fläche (m)", "'data.target=\"Fläche (m)\"'"),
        ("data.drop_columns=[Fläche (m)]", "'key=\"[a\"'"),
        ("data.drop_columns=[a&b, id,a b]", '\'data.drop_columns=["a&b",id,"a b"]\''),
        ("data.path=it's", '"data.path=\\"it\'s\\""'),
        ("data.path=[a&,[b]]", "'key=\"[a\"'"),
    ],
)
def test_rejected_override_is_reported_in_quoted_form(text: str, suggestion: str) -> None:
    with pytest.raises(ConfigError) as excinfo:
        override_parser.parse_overrides([text])
    assert str(excinfo.value).split("\n")[0].endswith(f"quote special characters: {suggestion}")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("data.target=Fläche", "Fläche"),
        ("data.path=~/Bücher/größe 2: neu", "~/Bücher/größe 2: neu"),
        ("data.drop_columns=[Fläche, id,3,Größe €]", ["Fläche", "id", 3, "Größe €"]),
        ("data.drop_columns=[[ä],b]", [["ä"], "b"]),
        ("data.target='Fläche (m)'", "Fläche (m)"),
        ("data.target=列", "列"),
    ],
)
def test_letters_of_other_languages_need_no_quotes(text: str, value: object) -> None:
    (item,) = override_parser.parse_overrides([text])
    assert item.value() == value
    assert override_parser.quote_letters(override_parser.quote_letters(text)) == override_parser.quote_letters(text)


def test_entries_of_a_sweep_are_quoted_one_by_one() -> None:
    (item,) = override_parser.parse_overrides(["data.target=Größe,Fläche,price"])
    assert item.is_sweep_override()
    assert [str(value) for value in item.sweep_string_iterator()] == ['"Größe"', '"Fläche"', "price"]
    assert override_parser.quote_letters("data.target=price,a b") == "data.target=price,a b"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], False),
        (["resume=auto"], True),
        (["resume='auto'", "seed=1"], True),
        (["resume=auto", "resume=null"], False),
        (["resume=auto,null"], False),
        (["model.resume=auto"], False),
    ],
)
def test_the_last_override_of_a_key_sets_it(words: list[str], expected: bool) -> None:
    assert override_parser.is_set(words, "resume", "auto") == expected
