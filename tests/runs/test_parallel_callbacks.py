"""Which hooks of a callback the processes of a run call."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.helpers import commands
from trainer.engine.callbacks import HOOKS

METHODS = (*HOOKS, "state_dict", "load_state_dict")
PLUGIN = """
import os
from pathlib import Path
from trainer import Callback


def record(name, arguments):
    Path("calls").mkdir(exist_ok=True)
    with Path("calls", os.environ.get("RANK", "0")).open("a") as file:
        print(name, file=file)
    if name == "on_epoch_end" and arguments[0].epoch == int(os.environ.get("STOP", "0")):
        raise ZeroDivisionError("on purpose")
    return {"count": 1} if name == "state_dict" else None


class Recorder(Callback):
""" + "".join(f"    def {name}(self, *arguments): return record('{name}', arguments)\n" for name in METHODS)


def read_calls(folder: Path) -> list[set[str]]:
    """Return the methods that each process has called, and remove the records."""
    calls = []
    for rank in ("0", "1"):
        file = folder / "calls" / rank
        calls.append(set(file.read_text().split()))
        file.unlink()
    return calls


@pytest.mark.slow
def test_all_processes_call_every_hook_but_that_of_checkpoints(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(PLUGIN)
    words = ("model=mlp", "data=moons", "data.rows=300", "threads=1", "draw=false", "devices=2", "hydra.run.dir=run")
    words = (*words, "epochs=2", "plugins=[own]", "+callbacks.own._target_=own.Recorder", "save_every_steps=1")
    failed = commands.train(*words, cwd=tmp_path, env={"STOP": "1"})
    assert failed.returncode == 2, failed.stderr
    assert "on_epoch_end raised ZeroDivisionError" in failed.stderr
    begun = {"on_fit_start", "on_step_end", "on_evaluation_batch_end", "on_validation_end", "on_epoch_end"}
    first, other = read_calls(tmp_path)
    assert (first, other) == (begun | {"on_exception", "on_checkpoint", "state_dict"}, begun | {"on_exception"})
    done = commands.train("resume", "run", "plugins=[own]", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    first, other = read_calls(tmp_path)
    assert other == begun | {"on_fit_end", "load_state_dict"}
    assert first == other | {"on_checkpoint", "state_dict"}


def test_the_guide_says_which_processes_call_a_hook() -> None:
    guide = Path(__file__).parents[2].joinpath("docs/guides/parallel.md").read_text()
    rows = dict(re.findall(r"^\| (.+?) \| (all|process 0)\b.*? \|", guide, re.MULTILINE))
    named = {name: where for names, where in rows.items() for name in re.findall(r"`(\w+)`", names)}
    alone = {"on_checkpoint", "state_dict"}
    assert named == {
        name: "process 0" if name in alone else "all" for name in (*HOOKS, "state_dict", "load_state_dict")
    }
