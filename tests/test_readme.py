"""What the README shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from trainer.cli import main, verb_args
from trainer.config import compose
from trainer.config.plugins import declare_plugins
from trainer.runs import train

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
FILES = re.findall(r"^`(\S+\.(?:py|yaml))`:\n\n```(?:python|yaml)\n(.*?)```$", README, re.DOTALL | re.MULTILINE)
"""Each file that is to be written: its name stands in the text, and the block is all of it."""
BLOCKS = re.findall(r"^```(?:python|yaml)\n", README, re.MULTILINE)
SCRIPT = re.findall(r"```python\n(import trainer\n.*?)```", README, re.DOTALL)
OWN = re.findall(r"^train --config-dir my_conf (.*)$", README, re.MULTILINE)

SAMPLES = re.findall(r"^train sample \S*-(\w+)-(\w+) (.*)$", README, re.MULTILINE)
RUNS = re.findall(r"^train (?!-m|resume|evaluate|sample|score|report|list|show|--config)(.*)$", README, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the README tells one to write."""
    for name, text in FILES:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_is_something_to_try() -> None:
    assert len(FILES) == 8
    assert len(BLOCKS) == len(FILES) + len(SCRIPT), "a block that is neither written nor run"
    assert len(OWN) == 3
    assert SAMPLES


@pytest.mark.parametrize("words", OWN)
@pytest.mark.slow
def test_a_model_a_data_set_a_task_and_an_augmentation_of_ones_own(words: str, folder: Path) -> None:
    result = train.run(compose.compose([*words.split(), "epochs=2"], [folder / "my_conf"]))
    declare_plugins([])
    assert result.status == "finished"
    assert result.test


@pytest.mark.usefixtures("folder")
def test_they_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main.run_command(["show", "--config-dir", "my_conf", "plugins=[my_net]", "model=my_net"]) == 0
    declare_plugins([])
    shown = capsys.readouterr().out
    assert "hidden units" in shown
    assert "a whole number >= 1" in shown


@pytest.mark.slow
def test_the_objects_from_python(folder: Path) -> None:
    (script,) = SCRIPT
    found: dict[str, Any] = {}
    exec(compile(script, "README.md", "exec"), found)
    assert found["result"].test["accuracy"] > 0.5
    assert (folder / found["result"].folder / "results.json").is_file()


@pytest.mark.parametrize("line", RUNS)
@pytest.mark.slow
def test_every_command_composes(line: str) -> None:
    words = [word for word in line.split("#")[0].split() if not word.startswith("data_dir=")]
    assert compose.compose(words).names["model"]


@pytest.mark.parametrize(("model", "data", "words"), SAMPLES)
def test_every_sample_is_asked_for_as_it_should_be(model: str, data: str, words: str) -> None:
    target = compose.compose([f"model={model}", f"data={data}"]).tree["task"]["_target_"]
    assert verb_args.parse_verb_args("sample", words.split(), verb_args.verb_parameters("sample", target))["prompt"]
