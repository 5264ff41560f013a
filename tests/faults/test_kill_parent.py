"""A sweep's parent is killed or asked to end, alone, at random moments: its jobs end with it, and the same command goes
on to the bits, the files and the table of the sweep that nobody touched (S2)."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib.backends.backend_agg
import matplotlib.figure  # noqa: F401
import pytest

import trainer
from tests.helpers.digest import digest
from tests.helpers.interruptions import compare_chains, read_table, wait
from tests.helpers.states import fork
from trainer.engine import checkpoint
from trainer.runs import run_dir, sweep
from trainer.utils import signals
from trainer.utils.errors import UserError

HOW = (
    *("epochs=3", "batch_size=32", "ema=0.9", "scheduler=onecycle", "accumulate=2", "save_every=0"),
    *("resume=auto", "hydra.sweep.dir=outputs/sweep"),
)
LSTM = ("model=lstm", "data=synthetic_seq", "data.rows=400", "model.hidden_size=8", "model.dropout=0.2")
VAE = ("model=vae", "data=wine", "model.hidden=[8]", "task.classifier=auto")
KILL, ASK = (signal.SIGKILL,), (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
KINDS: dict[str, tuple[tuple[signal.Signals, ...], float, tuple[str, ...]]] = {
    "one job at a time": (KILL, 1.0, (*LSTM, "seed=0,1,2", "jobs=1")),
    "two jobs at a time": (KILL, 1.0, (*LSTM, "seed=0,1,2", "jobs=2")),
    "before a job can say what it is": (KILL, 0.1, (*LSTM, "seed=0,1,2", "jobs=3")),
    "asked to end": (ASK, 1.0, (*LSTM, "seed=0,1,2", "jobs=2")),
    "with workers": ((*KILL, *ASK), 1.0, (*LSTM, "num_workers=2", "seed=0,1", "jobs=2")),
    "with a classifier, which one job trains first": ((*KILL, *ASK), 1.0, (*VAE, "seed=0,1", "jobs=2")),
}
"""Which signals, in which share of a whole sweep they come at first, and what is trained."""
EITHER_WAY = {"previous.pt"}
"""Files that are there or not by how often a run was saved, which a stop does."""


def start_sweep(place: Path, words: tuple[str, ...]) -> int:
    """Starts the sweep in a forked process with a session of its own, and returns its number."""
    pid = fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(place)
        output = os.open("said", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        with signals.exit_on_interrupt():
            code = sweep.run_sweep([*HOW, *words], [])
    except UserError as error:
        code = error.exit_code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def members(session: int) -> list[int]:
    """The processes of a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of, *_ = path.read_text().rpartition(")")[2].split()
            if int(of) == session and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def wait_for_end(session: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while members(session) and time.monotonic() < deadline:
        time.sleep(0.01)


def outcome(place: Path) -> tuple[dict[str, Any], list[dict[str, str]], list[str]]:
    """(what each run came to without wall-clock, the table, every file)"""
    found = {}
    for file in sorted((place / "outputs").rglob(run_dir.RESULTS_FILE)):
        run, said = file.parent, json.loads(file.read_text())
        rows = read_table(run / run_dir.METRICS_FILE)
        states = [digest(checkpoint.load_checkpoint(run / name)) for name in (checkpoint.LAST, checkpoint.BEST)]
        kept = [said[name] for name in ("status", "steps", "val", "test", "baseline", "artifacts")]
        found[str(run.relative_to(place))] = (states, rows, kept)
    board = read_table(place / "outputs/sweep/leaderboard.csv")
    files = (str(path.relative_to(place)) for path in (place / "outputs").rglob("*") if path.name not in EITHER_WAY)
    return found, board, sorted(files)


def stop_till_it_ends(
    place: Path, words: tuple[str, ...], by: tuple[signal.Signals, ...], draw: random.Random, whole: float, share: float
) -> int:
    """Stops the sweep and goes on with it, at once or when its jobs have ended; gives the number of stops."""
    sessions = []
    for attempt in range(60):
        pid = start_sweep(place, words)
        sessions.append(pid)
        # Later attempts are left alone for longer, so that every chain ends.
        time.sleep(draw.uniform(0.02, whole * (0.5 + attempt / 20) * (share if attempt < 3 else 1)))
        number = draw.choice(by)
        os.kill(pid, number)
        code = wait(pid)
        if code == 0:
            break
        asked = signals.resolve_signal(number)
        # By its own death before it listens, or by the code that says which signal it has answered.
        assert code in (-number, 128 + asked, 128 + number), (place / "said").read_text()
        wait_for_end(pid, draw.choice([0, 30]))
    else:
        raise AssertionError("it never came to an end")
    for session in sessions:
        wait_for_end(session, 10)
        assert members(session) == [], "a job runs on alone"
    return attempt


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="that a child ends with its parent is of Linux")
@pytest.mark.parametrize("kind", KINDS)
def test_a_sweep_continues_after_its_parent_ends(kind: str, tmp_path: Path) -> None:
    by, share, words = KINDS[kind]
    kills = int(os.environ.get("TRAIN_TEST_KILLS", "4"))
    trainer.compose([text for text in (*HOW, *words) if not text.startswith("seed=")])  # imports and merges, once

    def train(place: Path) -> int:
        return wait(start_sweep(place, words))

    def interrupt(place: Path, draw: random.Random, seconds: float) -> int:
        return stop_till_it_ends(place, words, by, draw, seconds, share)

    for _ in compare_chains(tmp_path, kills, train, interrupt, outcome):
        pass
