"""The commands of the page of a run work when they are pasted, and none is there that would not."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, train, write
from tests.helpers.in_process import run
from trainer.analysis.run_record import RunRecord, read_record
from trainer.config import compose
from trainer.report.commands import find_working_dir, format_run_command, list_commands
from trainer.report.run_page import make_run_page

pytestmark = pytest.mark.usefixtures("in_tmp")
FOLDER = "outputs/0-model.hidden=[4,3],name=a b"


def list_verbs(commands: list[tuple[str, str]]) -> list[str]:
    return [shlex.split(command)[1] for _, command in commands]


@pytest.mark.slow
def test_every_command_of_a_page_works_in_the_directory_that_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page is written from another directory than that of the run."""
    run(f"hydra.run.dir='{FOLDER}'", "model.hidden=[4,3]", "epochs=1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    record = read_record(Path("..") / FOLDER)
    working_dir = find_working_dir(record.results)
    assert working_dir == tmp_path
    assert make_run_page(record)["working_dir"] == str(tmp_path)
    commands = list_commands(record, working_dir)
    assert list_verbs(commands) == [SMALL[0], "rerun", "why", "evaluate", "predict"]
    for _, command in commands[1:]:
        assert FOLDER in shlex.split(command)
        done = train(*shlex.split(command)[1:], cwd=working_dir)
        assert done.returncode == 0, done.stderr
    again = compose.compose(shlex.split(commands[0][1])[1:])
    assert again.tree["model"]["hidden"] == [4, 3]


def test_a_run_from_elsewhere_is_named_from_the_current_directory(tmp_path: Path) -> None:
    """On another machine, the directory in which it was started does not exist."""
    assert find_working_dir({"working_dir": str(tmp_path / "gone")}) == tmp_path
    assert find_working_dir({}) == tmp_path
    assert format_run_command("why", Path("a b"), tmp_path) == "train why 'a b'"
    assert format_run_command("why", Path("run"), tmp_path / "other") == f"train why {tmp_path / 'run'}"


@pytest.mark.parametrize(
    ("status", "verbs"), [("failed", ["resume", "why"]), ("interrupted", ["resume"]), ("paused", ["resume"])]
)
def test_a_run_without_a_result_is_continued_and_a_broken_one_explained(
    tmp_path: Path, status: str, verbs: list[str]
) -> None:
    results = {"status": status, "options": {"model": "mlp"}, "overrides": ["model=mlp"]}
    commands = list_commands(RunRecord(tmp_path / "run", results), tmp_path)
    assert list_verbs(commands) == ["model=mlp", *verbs]


@pytest.mark.slow
def test_configuration_with_options_of_the_user_is_trained_again_with_their_directory(tmp_path: Path) -> None:
    write(tmp_path, {"conf/model/tiny.yaml": "# own\ndefaults: [mlp]\nhidden: [4]\n"})
    words = ["model=tiny", *SMALL[1:4], "threads=1", "draw=false", "hydra.run.dir=outputs/own"]
    done = train("--config-dir", "conf", *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    record = read_record(Path("outputs/own"))
    _, command = list_commands(record, tmp_path)[0]
    assert shlex.split(command)[1:3] == ["--config-dir", str(tmp_path / "conf")]
    assert train(*shlex.split(command)[1:], cwd=tmp_path).returncode == 0
    assert Path("outputs/own-2/results.json").is_file()
    shutil.rmtree("conf")
    assert list_verbs(list_commands(record, tmp_path))[0] == "rerun"  # and no command that would be refused


@pytest.mark.slow
def test_the_command_of_a_job_of_a_sweep_trains_it_alone(tmp_path: Path) -> None:
    done = train(
        "-m", *SMALL, "draw=false", "optimizer.lr=0.1,0.2", "jobs=2", "hydra.sweep.dir=outputs/s", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    (path,) = Path("outputs/s").glob("1-*/")
    _, command = list_commands(read_record(path), tmp_path)[0]
    done = train(*shlex.split(command)[1:], "hydra.run.dir=outputs/again", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    scores = [read_record(run_dir).results["test"] for run_dir in (path, Path("outputs/again"))]
    assert scores[0] == scores[1]


@pytest.mark.slow
@pytest.mark.parametrize("is_finished", [True, False])
def test_commands_name_the_plugins_of_the_run(is_finished: bool) -> None:
    Path("mine.py").touch()
    path = Path(run("plugins=[mine]", "epochs=1").run_dir)
    if not is_finished:
        file = path / "results.json"
        file.write_text(file.read_text().replace('"status": "finished"', '"status": "interrupted"'))
    commands = [command for _, command in list_commands(read_record(path), Path.cwd())[1:]]
    assert len(commands) == (4 if is_finished else 1)
    assert all(command.endswith(" plugins=[mine]") for command in commands)
