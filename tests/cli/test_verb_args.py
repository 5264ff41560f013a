"""What a verb is asked for is checked like a configuration."""

from __future__ import annotations

import pytest

from tests.helpers.own_runs import train_run
from trainer.cli import main, verb_args
from trainer.config.introspection import Parameter
from trainer.runs import saved_run
from trainer.utils.errors import ConfigError

KNOWN = verb_args.get_verb_parameters("sample", "trainer.tasks.language.Language")


def test_text_stays_text_and_numbers_are_numbers() -> None:
    words = ["prompt=12 = a dozen\n", "length=20", "temperature=1e-1", "top_k=null", "top_p=1"]
    found = verb_args.parse_verb_args("sample", words, KNOWN)
    assert found == {"prompt": "12 = a dozen\n", "length": 20, "temperature": 0.1, "top_k": None, "top_p": 1}
    assert verb_args.parse_verb_args("sample", [], KNOWN) == {}


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as told:
        verb_args.parse_verb_args("sample", ["lenght=3", "temperature=-1", "top_k=abc", "top_p=2", "twenty"], KNOWN)
    lines = str(told.value).splitlines()
    assert lines[0].startswith("sample lenght: unknown key; did you mean length? prompt=..., length=...")
    assert lines[1] == "sample temperature: '-1' given; it must be a number >= 0"
    assert lines[2] == "sample top_k: 'abc' given; it must be a whole number >= 1 or null"
    assert lines[3] == "sample top_p: '2' given; it must be a number >= 0 and <= 1"
    assert lines[4].startswith("sample twenty: unknown key;")


def test_a_task_that_cannot_says_which_can() -> None:
    with pytest.raises(ConfigError, match=r"this run cannot sample; these can: .*graph_generation, language, seq2seq"):
        verb_args.get_verb_parameters("sample", "trainer.tasks.regression.Regression")


def test_a_verb_without_keys_of_its_own_names_those_of_the_machine() -> None:
    with pytest.raises(ConfigError) as told:
        verb_args.parse_verb_args("evaluate", ["epochs=3", "devcie=cpu", "optimizer.lr=1"], {})
    first, second, third = str(told.value).splitlines()
    kept = "the configuration of a trained run is fixed; start a new run with"
    assert first.startswith(f"evaluate epochs=3: {kept} epochs=3; evaluate accepts allow_changed_data, ")
    assert third.startswith(f"evaluate optimizer.lr=1: {kept} optimizer.lr=1; evaluate accepts ")
    assert second.startswith("evaluate devcie: unknown key; did you mean device? allow_changed_data=..., ")


def test_a_verb_with_keys_of_its_own_names_those_of_the_machine_as_well() -> None:
    with pytest.raises(ConfigError) as told:
        verb_args.parse_verb_args("score", ["inptu=x", "thraeds=2"], {"input": Parameter(str, "")})
    first, second = told.value.problems
    assert first.startswith("score inptu: unknown key; did you mean input? input=..., allow_changed_data=..., ")
    assert second.startswith("score thraeds: unknown key; did you mean threads? input=..., ")


@pytest.mark.usefixtures("in_tmp")
def test_data_of_a_stored_run_is_named_by_its_own_keys() -> None:
    kept = saved_run.load(train_run("csv"))
    with pytest.raises(ConfigError) as told:
        saved_run.with_verb_overrides(kept, ["data.paht=x.csv", "data.taget=y", "data.target=y", "data.path=5"])
    able = "for a run that is used again: allow_changed_data, data_dir, "
    lines = [
        f"data.paht: unknown key; did you mean data.path? {able}",
        f"data.taget: unknown key; did you mean data.target? {able}",
        f"data.target: the configuration of a trained run is fixed; {able}",
        "data.path: 5 given; it must be text",
    ]
    assert [problem.startswith(line) for problem, line in zip(told.value.problems, lines, strict=True)] == [True] * 4


@pytest.mark.usefixtures("in_tmp")
def test_a_row_without_a_layer_shows_nothing() -> None:
    with pytest.raises(ConfigError, match=r"show row: .* features=LAYER"):
        main.run_command(["show", str(train_run("csv")), "row=3"])
