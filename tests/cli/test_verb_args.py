"""Arguments of ``train sample``, ``train score`` and ``train evaluate``: parsing and error messages."""

from __future__ import annotations

import pytest

from tests.helpers.own_runs import train_run
from trainer.cli import main, verb_args
from trainer.config import introspection, registry
from trainer.config.introspection import Parameter
from trainer.inference import method_options
from trainer.runs import run_overrides, saved_run
from trainer.utils.errors import ConfigError

PARAMETERS = method_options.find_task_options("trainer.tasks.language.Language", "sample")


def test_values_are_parsed_by_parameter_type() -> None:
    words = ["prompt=12 = a dozen\n", "length=20", "temperature=1e-1", "top_k=null", "top_p=1"]
    arguments = verb_args.parse_verb_args("sample", words, PARAMETERS)
    assert arguments == {"prompt": "12 = a dozen\n", "length": 20, "temperature": 0.1, "top_k": None, "top_p": 1}
    assert verb_args.parse_verb_args("sample", [], PARAMETERS) == {}


def test_every_problem_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as excinfo:
        verb_args.parse_verb_args(
            "sample", ["lenght=3", "temperature=-1", "top_k=abc", "top_p=2", "twenty"], PARAMETERS
        )
    lines = str(excinfo.value).splitlines()
    assert lines[0].startswith("sample lenght: unknown key; did you mean length? prompt=..., length=...")
    assert lines[1] == "sample temperature: '-1' given; it must be a number >= 0"
    assert lines[2] == "sample top_k: 'abc' given; it must be a whole number >= 1 or null"
    assert lines[3] == "sample top_p: '2' given; it must be a number >= 0 and <= 1"
    assert lines[4].startswith("sample twenty: unknown key;")


def test_task_without_sampling_names_tasks_that_sample() -> None:
    with pytest.raises(ConfigError, match=r"this run cannot sample; these can: .*graph_generation, language, seq2seq"):
        method_options.find_task_options("trainer.tasks.regression.Regression", "sample")


@pytest.mark.parametrize("name", ["density", "diffusion", "flow_matching", "gan", "graph_generation", "vae", "vq_vae"])
def test_generative_tasks_cannot_predict_and_name_what_they_can(name: str) -> None:
    task = str(registry.list_options("task")[name].class_path)
    signature = introspection.read_signature(task)
    assert signature is not None
    scores = " or train score RUN input=PATH" if "score_rows" in signature.parameters_by_method else ""
    with pytest.raises(ConfigError, match=rf"cannot predict; these can: .*; use train sample RUN{scores}$"):
        method_options.find_task_options(task, "predict")


def test_verb_without_parameters_lists_global_keys() -> None:
    with pytest.raises(ConfigError) as excinfo:
        verb_args.parse_verb_args("evaluate", ["epochs=3", "devcie=cpu", "optimizer.lr=1"], {})
    first, second, third = str(excinfo.value).splitlines()
    reason = "the configuration of a trained run is fixed; start a new run with"
    assert first.startswith(f"evaluate epochs=3: {reason} epochs=3; evaluate accepts allow_changed_data, ")
    assert third.startswith(f"evaluate optimizer.lr=1: {reason} optimizer.lr=1; evaluate accepts ")
    assert second.startswith("evaluate devcie: unknown key; did you mean device? allow_changed_data=..., ")


def test_resume_with_another_configuration_names_the_command_that_continues_as_a_new_run() -> None:
    with pytest.raises(ConfigError, match="command line of the run with resume=RUN epochs=9 continues it as a new run"):
        verb_args.parse_verb_args("resume", ["epochs=9"], {})


def test_verb_with_parameters_also_lists_global_keys() -> None:
    with pytest.raises(ConfigError) as excinfo:
        verb_args.parse_verb_args("score", ["inptu=x", "thraeds=2"], {"input": Parameter(str, "")})
    first, second = excinfo.value.problems
    assert first.startswith("score inptu: unknown key; did you mean input? input=..., allow_changed_data=..., ")
    assert second.startswith("score thraeds: unknown key; did you mean threads? input=..., ")


@pytest.mark.usefixtures("in_tmp")
def test_invalid_data_override_of_a_saved_run_is_reported() -> None:
    saved = saved_run.load(train_run("csv"))
    with pytest.raises(ConfigError) as excinfo:
        run_overrides.with_verb_overrides(saved, ["data.paht=x.csv", "data.taget=y", "data.target=y", "data.path=5"])
    accepted = "for a run that is used again: allow_changed_data, data_dir, "
    lines = [
        f"data.paht: unknown key; did you mean data.path? {accepted}",
        f"data.taget: unknown key; did you mean data.target? {accepted}",
        f"data.target: the configuration of a trained run is fixed; {accepted}",
        "data.path: 5 given; it must be text",
    ]
    assert [problem.startswith(line) for problem, line in zip(excinfo.value.problems, lines, strict=True)] == [True] * 4


@pytest.mark.usefixtures("in_tmp")
def test_show_row_without_features_raises() -> None:
    with pytest.raises(ConfigError, match=r"show row: .* features=LAYER"):
        main.run_command(["show", str(train_run("csv")), "row=3"])


@pytest.mark.parametrize(("verb", "is_named"), [("resume", True), ("evaluate", False)])
def test_a_fixed_key_names_the_keys_of_processes_where_they_are_allowed(verb: str, is_named: bool) -> None:
    with pytest.raises(ConfigError) as caught:
        verb_args.parse_verb_args(verb, ["epochs=3"], {})
    assert (", devices, " in str(caught.value)) == (", process_timeout, " in str(caught.value)) == is_named
