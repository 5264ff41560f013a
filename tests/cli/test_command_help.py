"""Help of ``train`` and of each subcommand."""

from __future__ import annotations

import shlex

import pytest

from tests.helpers.in_process import run_main
from trainer.cli import main
from trainer.config import registry
from trainer.inference import method_options
from trainer.runs.commands import COMMANDS, DATA_OPTIONS, OUTPUT_OPTIONS, OVERRIDABLE_KEYS
from trainer.utils.paths import is_path_argument


@pytest.fixture(autouse=True)
def _wide_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "1000")


def read_help(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main.run_command(arguments) == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_command_help_lists_its_forms_keys_and_an_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text, general = read_help(capsys, name, "--help"), read_help(capsys, "--help")
    command = COMMANDS[name]
    forms = [line for line in general.splitlines() if line.startswith(f"  train {name} ")]
    assert text.splitlines()[: len(forms)] == forms, "as in the help of train"
    assert len(forms) == len(command.forms) > 0
    assert forms == [line for line in text.splitlines() if line.startswith("  train ")]
    assert text.endswith(f"\n\nExample: train {name} {command.example}\n")
    for key, meaning in (*command.keys.items(), *command.options.items()):
        assert any(line.split(maxsplit=1) == [key, meaning] for line in text.splitlines())
    assert all((key in text) == command.takes_run for key in OVERRIDABLE_KEYS)
    assert len(text.splitlines()) < 32


@pytest.mark.parametrize(
    "arguments",
    [("sample", "-h"), ("sample", "outputs/run", "count=3", "--help"), ("help", "sample"), ("--help", "sample")],
)
def test_help_flag_anywhere_prints_the_help_of_the_command(
    arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert read_help(capsys, *arguments) == read_help(capsys, "sample", "--help")


@pytest.mark.parametrize("arguments", [("-h",), ("help",), ("model=lstm", "--help"), ("smaple", "--help")])
def test_help_without_a_command_is_general(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert read_help(capsys, *arguments) == read_help(capsys, "--help")


def test_help_names_every_command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    _, message = run_main(capsys, monkeypatch, "nothing")
    assert message.strip().endswith(f"one of {', '.join(COMMANDS)}")


def test_sample_help_lists_the_options_of_each_task(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [line.split() for line in read_help(capsys, "sample", "--help").splitlines()]
    listed = {(row[0], word.rstrip(",")) for row in rows for word in row}
    tasks = {option.name: str(option.class_path) for option in registry.list_options("task").values()}
    for task in ("language", "seq2seq", "diffusion", "vae", "graph_generation"):
        parameters = method_options.find_task_options(tasks[task], "sample")
        assert {key for key, name in listed if name == task} == parameters.keys()
    assert not {key for key, name in listed if name == "classification"}


def test_predict_help_has_the_options_of_every_data_set_and_task(capsys: pytest.CaptureFixture[str]) -> None:
    targets = {
        group: [option.class_path for option in registry.list_options(group).values() if option.class_path]
        for group in ("data", "task")
    }
    read_keys = {key for target in targets["data"] for key in method_options.find_read_options(target)}
    methods = [method_options.read_methods(target).get("predict", {}) for target in targets["task"]]
    task_keys = {key for parameters in methods for key in parameters} - {"batch"}
    assert DATA_OPTIONS.keys() == read_keys
    assert COMMANDS["predict"].options.keys() == read_keys | task_keys
    assert COMMANDS["evaluate"].options.keys() == read_keys - OUTPUT_OPTIONS
    assert "id_column" in read_help(capsys, "predict", "--help")


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.takes_run])
def test_examples_use_existing_keys(name: str) -> None:
    run, *words = shlex.split(COMMANDS[name].example)
    assert is_path_argument(run)
    options = method_options.find_task_options("trainer.tasks.language.Language", "sample") if name == "sample" else {}
    assert {word.partition("=")[0] for word in words} <= {*options, *COMMANDS[name].keys}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_only_commands_are_wider_than_the_terminal(
    width: int, name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command stays on its line, so that it can be copied; everything beside it is wrapped."""
    wide = read_help(capsys, *filter(None, [name]), "--help")
    monkeypatch.setenv("COLUMNS", str(width))
    text = read_help(capsys, *filter(None, [name]), "--help")
    assert [line for line in text.splitlines() if len(line) > width and not is_command(line)] == []
    assert text.split() == wide.split(), "the same words"


def is_command(line: str) -> bool:
    return line.removeprefix("Example: ").strip().startswith("train ") and "  " not in line.strip()
