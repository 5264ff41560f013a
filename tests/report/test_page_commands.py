"""The commands of the page of a run work when they are pasted, and none is there that would not."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from tests.helpers.commands import SMALL, train, write
from tests.helpers.in_process import run
from trainer.analysis.run_record import read_record
from trainer.config import compose
from trainer.report.run_page import list_commands
from trainer.runs import train as train_run

pytestmark = pytest.mark.usefixtures("in_tmp")
FOLDER = "outputs/0-model.hidden=[4,3],name=a b"


def list_verbs(commands: list[tuple[str, str]]) -> list[str]:
    return [shlex.split(command)[1] for _, command in commands]


@pytest.mark.slow
def test_every_command_of_a_page_works(tmp_path: Path) -> None:
    run(f"hydra.run.dir='{FOLDER}'", "model.hidden=[4,3]", "epochs=1")
    commands = list_commands(read_record(Path(FOLDER)))
    assert list_verbs(commands) == [SMALL[0], "rerun", "why", "evaluate", "predict"]
    for _, command in commands[1:]:
        done = train(*shlex.split(command)[1:], cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    again = compose.compose(shlex.split(commands[0][1])[1:])
    assert again.tree["model"]["hidden"] == [4, 3]


@pytest.mark.slow
def test_a_configuration_with_options_of_the_user_is_repeated_by_its_run_alone() -> None:
    """The directory of --config-dir is not recorded, without which a command line would be refused."""
    write(Path(), {"conf/model/tiny.yaml": "# own\ndefaults: [mlp]\nhidden: [4]\n"})
    words = ["model=tiny", *SMALL[1:4], "threads=1", "draw=false", "hydra.run.dir=outputs/own"]
    train_run.run(compose.compose(words, [Path("conf")]))
    assert list_verbs(list_commands(read_record(Path("outputs/own"))))[0] == "rerun"


@pytest.mark.slow
@pytest.mark.parametrize("is_finished", [True, False])
def test_commands_name_the_plugins_of_the_run(is_finished: bool) -> None:
    Path("mine.py").touch()
    path = Path(run("plugins=[mine]", "epochs=1").run_dir)
    if not is_finished:
        file = path / "results.json"
        file.write_text(file.read_text().replace('"status": "finished"', '"status": "interrupted"'))
    commands = [command for _, command in list_commands(read_record(path))[1:]]
    assert len(commands) == (4 if is_finished else 1)
    assert all(command.endswith(" plugins=[mine]") for command in commands)
