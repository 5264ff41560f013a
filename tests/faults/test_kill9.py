"""Killed at random moments, resumed, killed again: the run must end with the bits of the one nobody touched.

A parent that has imported torch forks the runs, so that a kill costs milliseconds and 200 of them fit in a test.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import pytest

import trainer
from tests.helpers import commands
from tests.helpers.digest import digest
from tests.helpers.interruptions import compare_chains, read_table, wait
from tests.helpers.states import fork
from trainer.engine import checkpoint
from trainer.runs import run_dir

HOW = [
    *("epochs=3", "batch_size=32", "ema=0.9", "scheduler=onecycle", "accumulate=2", "grad_clip=1", "save_every=0"),
    *("threads=1", "resume=auto"),
]
LSTM = ("model=lstm", "data=synthetic_seq", "data.rows=400", "model.hidden_size=8", "model.dropout=0.2")
VAE = ("model=vae", "data=wine", "model.hidden=[8]", "task.classifier=auto")


def train_in_child(place: Path, *words: str) -> int:
    """Starts the run in a forked process and returns its number."""
    pid = fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(place)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        trainer.run(trainer.compose([*HOW, *words, "hydra.run.dir=outputs/run"]))
        code = 0
    finally:
        os._exit(code)


def outcome(place: Path) -> tuple[str, list[dict[str, str]], dict[str, float], list[str]]:
    """(hash of the state, metrics.csv without wall-clock, test scores, files)"""
    run = place / "outputs/run"
    rows = read_table(run / run_dir.METRICS_FILE)
    said = json.loads((run / run_dir.RESULTS_FILE).read_text())
    assert said["status"] == "finished"
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return digest(checkpoint.load_checkpoint(run / checkpoint.LAST)), rows, said["test"], files


KINDS: dict[str, tuple[int, float, tuple[str, ...]]] = {
    "anywhere": (200, 0.0, LSTM),
    "while it tests and draws": (20, 0.8, LSTM),
    "with workers": (10, 0.0, (*LSTM, "num_workers=2", "epochs=2")),
    "with a classifier, which is trained first": (10, 0.0, VAE),
}
"""Kills, the share of a run that is left alone before, and what is trained."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_runs_match_an_uninterrupted_one(kind: str, tmp_path: Path) -> None:
    kills, spared, words = KINDS[kind]
    kills = min(kills, int(os.environ.get("TRAIN_TEST_KILLS", "200")))
    trainer.compose([*HOW, *words])  # what every child would import and merge for itself, once

    def train(place: Path) -> int:
        return wait(train_in_child(place, *words))

    def interrupt(place: Path, draw: random.Random, seconds: float) -> int:
        return kill_till_it_ends(place, words, draw, seconds, spared)

    for place in compare_chains(tmp_path, kills, train, interrupt, outcome):
        found = {path.name for path in (place / "outputs").iterdir()}
        assert found - {run_dir.LATEST_LINK, run_dir.CLASSIFIERS_DIR} == {"run"}, "a resume started another run"


def kill_till_it_ends(place: Path, words: tuple[str, ...], draw: random.Random, whole: float, spared: float) -> int:
    """Kills a run and goes on with it at once, again and again; gives the number of kills."""
    for attempt in range(60):
        pid = train_in_child(place, *words)
        # Later attempts are left alone for longer, so that every chain ends.
        time.sleep(draw.uniform(0.02 + spared * whole, whole * (0.5 + spared / 2 + attempt / 20)))
        os.kill(pid, signal.SIGKILL)
        code = wait(pid)
        if code == 0:
            return attempt
        assert code == -signal.SIGKILL, f"attempt {attempt} could not go on: exit {code}"
    assert wait(train_in_child(place, *words)) == 0
    return 60


@pytest.mark.slow
def test_kills_of_the_real_command(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    words = (*LSTM, *HOW, "epochs=40", "hydra.run.dir=outputs/run")
    draw = random.Random(2)
    for _ in range(5):
        process = commands.start(*words, cwd=cut)
        # Once it trains, or as soon as it has ended; then a moment that nobody chose.
        before = states(cut)
        while states(cut) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.communicate()
    for folder_of_run in (cut, whole):
        done = commands.train(*words, cwd=folder_of_run)
        assert done.returncode == 0, done.stderr
    assert outcome(cut) == outcome(whole)


def states(place: Path) -> list[int]:
    """When the last state was written, if one was."""
    return [path.stat().st_mtime_ns for path in place.glob(f"outputs/run/{checkpoint.LAST}")]
