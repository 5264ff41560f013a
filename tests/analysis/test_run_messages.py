"""What commands on runs say about misspelled runs and keys, and about runs of other lengths."""

from __future__ import annotations

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest

import trainer
from tests.helpers.in_process import run
from trainer.analysis import list_runs
from trainer.analysis.diff_runs import diff_runs
from trainer.analysis.run_record import find_records, read_record
from trainer.cli import main
from trainer.config.budget_keys import drop_unused_length
from trainer.runs import run_context
from trainer.runs.finished_runs import read_runs
from trainer.runs.run_groups import group_by_setting, label_settings
from trainer.utils.errors import ConfigError


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three runs, whose lengths are set by epochs, steps and time."""
    folder = tmp_path_factory.mktemp("runs")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run("hydra.run.dir=outputs/day/by_epochs")
        run("hydra.run.dir=outputs/day/by_steps", "max_steps=3")
    finally:
        os.chdir(before)
    timed = folder / "outputs/day/by_time"
    shutil.copytree(folder / "outputs/day/by_steps", timed)
    config = (timed / "config.yaml").read_text()
    (timed / "config.yaml").write_text(config.replace("budget: null", "budget: 5s"))
    results = json.loads((timed / "results.json").read_text()) | {"overrides": ["model=mlp", "data=moons", "budget=5s"]}
    (timed / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(autouse=True)
def _in_folder(stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(stored)


@pytest.mark.parametrize("verb", ["rm", "tag", "why", "rerun", "resume", "evaluate"])
@pytest.mark.parametrize(
    ("name", "meant"), [("latest", "outputs/latest"), ("outputs/day/by_step", "outputs/day/by_steps")]
)
def test_a_misspelled_run_gets_a_suggestion(verb: str, name: str, meant: str) -> None:
    words = [verb, name, *(["paper"] if verb == "tag" else [])]
    with pytest.raises(ConfigError, match=f"{name} is not a run directory: .*; did you mean {meant}\\?"):
        main.run_command(words)


@pytest.mark.parametrize("words", [["compare", "latest", "outputs/day/by_time"], ["report", "latest"]])
def test_a_misspelled_directory_gets_a_suggestion(words: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"no directory: .*; did you mean outputs/latest\?"):
        main.run_command(words)


def test_a_directory_of_runs_is_answered_by_the_command_that_lists_them() -> None:
    Path("outputs/day/.hidden").mkdir(exist_ok=True)
    with pytest.raises(ConfigError) as error:
        main.run_command(["why", "outputs/day"])
    assert str(error.value).endswith(
        "which contains by_epochs, by_steps, by_time; it contains runs: train list runs outputs/day"
    )


@pytest.mark.parametrize("name", ["n" * 300, "nope/" * 100, "outputs/" + "n" * 300])
@pytest.mark.parametrize("verb", ["why", "rm"])
def test_names_that_no_file_can_have_are_no_runs(verb: str, name: str) -> None:
    with pytest.raises(ConfigError, match="is not a run directory"):
        main.run_command([verb, name])


def test_a_key_unlike_any_other_is_answered_by_the_keys_that_there_are() -> None:
    with pytest.raises(ConfigError) as error:
        list_runs.select_runs(find_records(Path("outputs")), None, "zzz")
    message = str(error.value)
    assert message.startswith("zzz: no run has this key; keys are run, status, date, tag, score, accuracy")
    assert message.endswith("and those of the configuration and of the splits, such as optimizer.lr and val.accuracy")


@pytest.mark.parametrize(
    ("config", "lengths"),
    [
        ({"epochs": 5, "max_steps": None, "budget": None, "seed": 1}, {"epochs": 5}),
        ({"epochs": 5, "max_steps": 3, "budget": None, "seed": 1}, {"max_steps": 3}),
        ({"epochs": 5, "max_steps": 3, "budget": "5s", "seed": 1}, {"max_steps": 3, "budget": "5s"}),
        ({"epochs": 5, "max_steps": None, "budget": "5s", "seed": 1}, {"budget": "5s"}),
        ({"epochs": 5, "seed": 1}, {"epochs": 5}),
    ],
)
def test_only_keys_that_decide_the_length_are_left(config: dict[str, object], lengths: dict[str, object]) -> None:
    assert drop_unused_length(config) == lengths | {"seed": 1}


def test_diff_shows_the_lengths_that_are_in_effect() -> None:
    first, second = (read_record(Path("outputs/day", name)) for name in ("by_epochs", "by_time"))
    found = {each.name: (each.first, each.second) for each in diff_runs(first, second).settings}
    assert found == {"epochs": ("2", "-"), "max_steps": ("-", "3"), "budget": ("-", "5s")}


def test_a_run_does_not_differ_from_itself() -> None:
    record = read_record(Path("outputs/day/by_epochs"))
    assert [name for name, found in vars(diff_runs(record, record)).items() if found] == []


def test_labels_show_the_lengths_that_are_in_effect() -> None:
    groups = group_by_setting(read_runs(Path("outputs/day")))
    labels = dict(zip((group[0].path.name for group in groups), label_settings(groups), strict=True))
    assert labels == {"by_epochs": "epochs=2", "by_steps": "max_steps=3", "by_time": "max_steps=3 budget=5s"}


def test_commands_with_the_names_of_jobs_can_be_pasted_into_any_shell() -> None:
    config = trainer.compose(["model=mlp", "data=moons"])
    command = run_context.resume_command(config, Path("outputs/sweeps/0-model.hidden=[4,3],data.path=my file"))
    assert shlex.split(command) == ["train", "resume", "outputs/sweeps/0-model.hidden=[4,3],data.path=my file"]
    assert command.count("'") == 2
    assert run_context.resume_command(config, Path("outputs/a")) == "train resume outputs/a"
