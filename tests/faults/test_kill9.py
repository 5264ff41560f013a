"""Runs that are killed at random moments and resumed end bit-exactly like an uninterrupted run.

A parent that has imported torch forks the runs, so that a kill costs milliseconds. The moments are times of the CPU,
which other processes do not stretch. ``TRAIN_TEST_KILLS=200`` sets the number of kills of each kind for a longer test.
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

OVERRIDES = [
    *("epochs=3", "batch_size=32", "ema=0.9", "scheduler=onecycle", "accumulate=2", "grad_clip=1", "save_every=0"),
    *("threads=1", "resume=auto"),
]
LSTM = ("model=lstm", "data=synthetic_seq", "data.rows=400", "model.hidden_size=8", "model.dropout=0.2")
VAE = ("model=vae", "data=wine", "model.hidden=[8]", "task.classifier=auto")


def train_in_child(place: Path, *overrides: str, kill_after: float = 0.0) -> int:
    """Run in a forked process, which the kernel kills after some CPU time if that is not 0; return its exit code."""
    pid = fork()
    if pid:
        return wait(pid)
    code = 1
    try:
        os.chdir(place)
        signal.setitimer(signal.ITIMER_PROF, kill_after)
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        trainer.run(trainer.compose([*OVERRIDES, *overrides, "hydra.run.dir=outputs/run"]))
        Path("seconds").write_text(str(time.process_time()))
        code = 0
    finally:
        os._exit(code)


def outcome(place: Path) -> tuple[str, list[dict[str, str]], dict[str, float], list[str]]:
    """Return the hash of the state, metrics.csv without times, the test scores, and the files."""
    run = place / "outputs/run"
    rows = read_table(run / run_dir.METRICS_FILE)
    results = json.loads((run / run_dir.RESULTS_FILE).read_text())
    assert results["status"] == "finished"
    files = sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file())
    return digest(checkpoint.load_checkpoint(run / checkpoint.LAST)), rows, results["test"], files


KINDS: dict[str, tuple[int, float, tuple[str, ...]]] = {
    "anywhere": (30, 0.0, LSTM),
    "during evaluation and drawing": (5, 0.8, LSTM),
    "with workers": (4, 0.0, (*LSTM, "num_workers=2", "epochs=2")),
    "with a feature network, which is trained first": (4, 0.0, VAE),
}
"""Number of kills, fraction of a run before the first kill, and overrides."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_killed_and_resumed_runs_match_an_uninterrupted_one(kind: str, tmp_path: Path) -> None:
    kills, min_fraction, overrides = KINDS[kind]
    kills = int(os.environ.get("TRAIN_TEST_KILLS", kills))
    trainer.compose([*OVERRIDES, *overrides])  # imports and composes once for all children

    def train(place: Path) -> int:
        return train_in_child(place, *overrides)

    def interrupt(place: Path, draw: random.Random, _: float) -> int:
        duration = float((tmp_path / "unbroken/seconds").read_text())
        return kill_until_finished(place, overrides, draw, duration, min_fraction)

    for place in compare_chains(tmp_path, kills, train, interrupt, outcome):
        found = {path.name for path in (place / "outputs").iterdir()}
        assert found - {run_dir.LATEST_LINK, run_dir.CLASSIFIERS_DIR} == {"run"}, "a resume started another run"


def kill_until_finished(
    place: Path, overrides: tuple[str, ...], draw: random.Random, duration: float, min_fraction: float
) -> int:
    """Kill and resume a run until it finishes; return the number of kills."""
    for attempt in range(60):
        # Later attempts run for longer, so that every chain ends.
        latest = duration * (0.5 + min_fraction / 2 + attempt / 20)
        code = train_in_child(place, *overrides, kill_after=draw.uniform(0.02 + min_fraction * duration, latest))
        if code == 0:
            return attempt
        assert code == -signal.SIGPROF, f"attempt {attempt} failed to resume: exit {code}"
    assert train_in_child(place, *overrides) == 0
    return 60


@pytest.mark.slow
def test_killed_cli_run_matches_an_uninterrupted_one(tmp_path: Path) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir()
    cut.mkdir()
    overrides = (*LSTM, *OVERRIDES, "epochs=40", "hydra.run.dir=outputs/run")
    draw = random.Random(2)
    for _ in range(5):
        process = commands.start(*overrides, cwd=cut)
        # Wait until it trains or has ended, then for a random time.
        before = checkpoint_mtimes(cut)
        while checkpoint_mtimes(cut) == before and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.communicate()
    for folder_of_run in (cut, whole):
        done = commands.train(*overrides, cwd=folder_of_run)
        assert done.returncode == 0, done.stderr
    assert outcome(cut) == outcome(whole)


def checkpoint_mtimes(place: Path) -> list[int]:
    """Return the modification time of the last checkpoint, if there is one."""
    return [path.stat().st_mtime_ns for path in place.glob(f"outputs/run/{checkpoint.LAST}")]
