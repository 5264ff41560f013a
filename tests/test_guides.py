"""Every command of the guides of searches, comparisons, reports, plans and runs, in a folder with a few small runs.

Commands are run as they are written, with a real run for RUN, and with what makes them short.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.helpers.commands import train
from tests.helpers.in_process import run
from trainer.cli import main

pytestmark = pytest.mark.slow
GUIDES = Path(__file__).parent.parent / "docs/guides"
NAMES = {"search": 3, "compare": 4, "report": 5, "plan": 4, "runs": 9}
"""Guides, with the least number of their commands."""
PLACEHOLDERS = {
    "outputs/sweeps/DAY/TIME": "outputs/sweeps",
    "data=mnist": "data=digits",
    "data=digits,wine,moons,breast_cancer": "data=wine,moons",
}
SHORT = ("epochs=1", "draw=false")
"""What makes a run short."""
EXTRA: dict[str, Sequence[str]] = {
    "-m": (*SHORT, "seed=0"),
    "search": (*SHORT, "budget=2runs", "seeds=1", "finalists=1"),
    "plan": SHORT,
    "find": SHORT,
    "rm": ("yes=true",),
}
"""Arguments of each command that replace those in the guide, to make it short or to answer its question."""


def list_commands(name: str) -> list[str]:
    """Return the commands of a guide, of its blocks and of its sentences."""
    text = (GUIDES / f"{name}.md").read_text(encoding="utf-8")
    lines = re.findall(r"^(?:\$ )?(train .*?)(?:\s+#.*)?$", text, re.MULTILINE)
    inline = [command for command in re.findall(r"`(train [a-z][^`\n]*)`", text) if re.search(r"RUN|=|runs", command)]
    return list(dict.fromkeys(command for command in [*lines, *inline] if "..." not in command))


COMMANDS = [command for name in NAMES for command in list_commands(name)]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seeds of two settings, and two single runs."""
    folder = tmp_path_factory.mktemp("guides")
    before = Path.cwd()
    os.chdir(folder)
    try:
        for seed in range(2):
            run(f"seed={seed}", "optimizer=sgd", f"hydra.run.dir=outputs/sgd/{seed}")
            run(f"seed={seed}", f"hydra.run.dir=outputs/adam/{seed}")
        run("hydra.run.dir=outputs/sweeps/day/time/0")
        run("hydra.run.dir=outputs/day/first", "max_steps=4")
        main.run_command(["tag", "outputs/day/first", "final"])
    finally:
        os.chdir(before)
    return folder


def complete(command: str) -> list[str]:
    """Return the words of a command with runs for its placeholders, and with what makes it short."""
    for placeholder, text in PLACEHOLDERS.items():
        command = command.replace(placeholder, text)
    for path in ("outputs/day/first", "outputs/adam/1"):
        command = re.sub(r"\bRUN\b(?!-)", path, command, count=1)
    words = shlex.split(command)[1:]
    keys = {word.partition("=")[0] for word in EXTRA.get(words[0], ())}
    return [word for word in words if word.partition("=")[0] not in keys] + [*EXTRA.get(words[0], ())]


@pytest.mark.parametrize(("name", "count"), NAMES.items())
def test_commands_of_a_guide_are_found(name: str, count: int) -> None:
    assert len(list_commands(name)) >= count


@pytest.mark.parametrize("command", COMMANDS)
def test_command_of_a_guide_works(command: str, stored: Path, tmp_path: Path) -> None:
    shutil.copytree(stored, tmp_path, symlinks=True, dirs_exist_ok=True)
    done = train(*complete(command), cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
