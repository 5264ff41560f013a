"""Sweeps whose parent is killed or signaled at random moments: the jobs end too, and a resume is bit-exact."""

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

OVERRIDES = (
    *("epochs=3", "batch_size=32", "ema=0.9", "scheduler=onecycle", "accumulate=2", "save_every=0"),
    *("resume=auto", "hydra.sweep.dir=outputs/sweep"),
)
LSTM = ("model=lstm", "data=synthetic_seq", "data.rows=400", "model.hidden_size=8", "model.dropout=0.2")
VAE = ("model=vae", "data=wine", "model.hidden=[8]", "task.classifier=auto")
KILL, STOP = (signal.SIGKILL,), (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
KINDS: dict[str, tuple[tuple[signal.Signals, ...], float, tuple[str, ...]]] = {
    "one job at a time": (KILL, 1.0, (*LSTM, "seed=0,1,2", "jobs=1")),
    "two jobs at a time": (KILL, 1.0, (*LSTM, "seed=0,1,2", "jobs=2")),
    "before a job writes its results": (KILL, 0.1, (*LSTM, "seed=0,1,2", "jobs=3")),
    "stop signals": (STOP, 1.0, (*LSTM, "seed=0,1,2", "jobs=2")),
    "with workers": ((*KILL, *STOP), 1.0, (*LSTM, "num_workers=2", "seed=0,1", "jobs=2")),
    "with a feature network, which one job trains first": ((*KILL, *STOP), 1.0, (*VAE, "seed=0,1", "jobs=2")),
}
"""Signals, the fraction of a whole sweep in which the first ones are sent, and overrides."""
OPTIONAL_FILES = {"previous.pt", run_dir.JOBS_DIR}
"""Files and folders whose contents depend on the number of saves or attempts, and so on the interruptions."""


def start_sweep(place: Path, overrides: tuple[str, ...]) -> int:
    """Start the sweep in a forked process with its own session; return its pid."""
    pid = fork()
    if pid:
        return pid
    code = 1
    try:
        os.setsid()
        os.chdir(place)
        output = os.open("output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(output, 1)
        os.dup2(output, 2)
        with signals.exit_on_interrupt():
            code = sweep.run_sweep([*OVERRIDES, *overrides], [])
    except UserError as error:
        code = error.exit_code
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def find_session_pids(session: int) -> list[int]:
    """Return the running processes of a session."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, _, of, *_ = path.read_text().rpartition(")")[2].split()
            if int(of) == session and state not in "ZX":
                found.append(int(path.parent.name))
    return found


def wait_for_end(session: int, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while find_session_pids(session) and time.monotonic() < deadline:
        time.sleep(0.01)


def outcome(place: Path) -> tuple[dict[str, Any], list[dict[str, str]], list[str]]:
    """Return the outcome of each run without times, the leaderboard, and the files."""
    found = {}
    for file in sorted((place / "outputs").rglob(run_dir.RESULTS_FILE)):
        run, results = file.parent, json.loads(file.read_text())
        rows = read_table(run / run_dir.METRICS_FILE)
        states = [digest(checkpoint.load_checkpoint(run / name)) for name in (checkpoint.LAST, checkpoint.BEST)]
        values = [results[name] for name in ("status", "steps", "val", "test", "baseline", "artifacts")]
        found[str(run.relative_to(place))] = (states, rows, values)
    board = read_table(place / "outputs/sweep/leaderboard.csv")
    paths = (path for path in (place / "outputs").rglob("*") if not OPTIONAL_FILES & {*path.parts})
    files = (str(path.relative_to(place)) for path in paths)
    return found, board, sorted(files)


def stop_until_finished(
    place: Path,
    overrides: tuple[str, ...],
    choices: tuple[signal.Signals, ...],
    draw: random.Random,
    duration: float,
    share: float,
) -> int:
    """Interrupt and resume the sweep until it finishes; return the number of interruptions."""
    sessions = []
    for attempt in range(60):
        pid = start_sweep(place, overrides)
        sessions.append(pid)
        # Later attempts run for longer, so that every chain ends.
        time.sleep(draw.uniform(0.02, duration * (0.5 + attempt / 20) * (share if attempt < 3 else 1)))
        number = draw.choice(choices)
        os.kill(pid, number)
        code = wait(pid)
        if code == 0:
            break
        resolved = signals.resolve_signal(number)
        # Killed before the handler is installed, or the exit code of the handled signal.
        assert code in (-number, 128 + resolved, 128 + number), (place / "output").read_text()
        wait_for_end(pid, draw.choice([0, 30]))
    else:
        raise AssertionError("the sweep did not finish")
    for session in sessions:
        wait_for_end(session, 60)
        assert find_session_pids(session) == [], "a job is still running"
    return attempt


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux")
@pytest.mark.parametrize("kind", KINDS)
def test_resumed_sweep_matches_an_uninterrupted_one(kind: str, tmp_path: Path) -> None:
    choices, share, overrides = KINDS[kind]
    kills = int(os.environ.get("TRAIN_TEST_KILLS", "3"))
    # Imports and composes once for all children.
    trainer.compose([text for text in (*OVERRIDES, *overrides) if not text.startswith("seed=")])

    def train(place: Path) -> int:
        return wait(start_sweep(place, overrides))

    def interrupt(place: Path, draw: random.Random, seconds: float) -> int:
        return stop_until_finished(place, overrides, choices, draw, seconds, share)

    for _ in compare_chains(tmp_path, kills, train, interrupt, outcome):
        pass
