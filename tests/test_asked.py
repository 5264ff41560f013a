"""What a verb is asked for is checked like a configuration."""

from __future__ import annotations

import pytest

from trainer import asked
from trainer.errors import ConfigError

KNOWN = asked.parameters("sample", "trainer.tasks.language.Language")


def test_text_stays_text_and_numbers_are_numbers() -> None:
    words = ["prompt=12 = a dozen\n", "length=20", "temperature=1e-1", "top_k=null", "top_p=1"]
    found = asked.options("sample", words, KNOWN)
    assert found == {"prompt": "12 = a dozen\n", "length": 20, "temperature": 0.1, "top_k": None, "top_p": 1}
    assert asked.options("sample", [], KNOWN) == {}


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        asked.options("sample", ["lenght=3", "temperature=-1", "top_k=abc", "top_p=2", "twenty"], KNOWN)
    lines = str(told.value).splitlines()
    assert lines[0].startswith("sample lenght=3: unknown; did you mean length? prompt=..., length=...")
    assert lines[1] == "sample temperature: '-1' given; it must be a number >= 0"
    assert lines[2] == "sample top_k: 'abc' given; it must be a whole number >= 1 or null"
    assert lines[3] == "sample top_p: '2' given; it must be a number >= 0 and <= 1"
    assert lines[4].startswith("sample twenty: unknown;")


def test_a_task_that_cannot_says_which_can() -> None:
    with pytest.raises(ConfigError, match=r"this run cannot sample; these can: .*graph_generation, language, seq2seq"):
        asked.parameters("sample", "trainer.tasks.regression.Regression")


def test_a_verb_without_keys_of_its_own_names_those_of_the_machine() -> None:
    with pytest.raises(ConfigError) as told:
        asked.options("evaluate", ["epochs=3", "devcie=cpu"], {})
    first, second = str(told.value).splitlines()
    assert first.startswith("evaluate epochs=3: a run keeps what it was trained with; evaluate can be given allow_cha")
    assert second.startswith("evaluate devcie=cpu: unknown; did you mean device? allow_changed_data=..., ")
