"""Runs on one and two processes, one or all of which are killed at random moments, end like an uninterrupted run.

``TRAIN_TEST_KILLS=40`` sets the number of kills for a longer test.
"""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.helpers import commands
from tests.helpers.digest import digest
from tests.helpers.interruptions import compare_chains, read_table
from tests.helpers.sweeps import find_descendants, send_signal, wait_for_ends
from trainer.engine import checkpoint
from trainer.runs import run_dir

RUN = (
    *("model=lstm", "model.hidden_size=8", "model.dropout=0.2", "data=synthetic_seq", "data.rows=400", "batch_size=20"),
    *("epochs=25", "val_every=5", "ema=0.9", "grad_clip=1", "scheduler=onecycle", "shards=2", "save_every=0"),
    *("threads=1", "draw=false", "resume=auto", "hydra.run.dir=outputs/run"),
)
KILLS_PER_CHAIN = int(os.environ.get("TRAIN_TEST_KILLS", "3"))


def train_whole(place: Path) -> int:
    return commands.train(*RUN, "devices=1", cwd=place).returncode


def kill_until_finished(place: Path, draw: random.Random, seconds: float) -> int:
    """Kill a process, or all, and go on with another number of processes; return the number of kills."""
    for attempt in range(KILLS_PER_CHAIN):
        process = commands.start(*RUN, f"devices={2 - attempt % 2}", cwd=place)
        before = read_save_time(place)
        while read_save_time(place) == before and process.poll() is None:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, seconds / 8))
        workers = find_descendants(process.pid)
        victims = draw.choice([workers[:1] or [process.pid], [process.pid], [process.pid, *workers]])
        send_signal(victims, signal.SIGKILL)
        _, error = process.communicate(timeout=commands.TIMEOUT)
        if process.returncode == 0:
            return attempt
        assert process.returncode in (-signal.SIGKILL, 4), error
        wait_for_ends(workers)
    assert commands.train(*RUN, "devices=2", cwd=place).returncode == 0
    return KILLS_PER_CHAIN


def read_save_time(place: Path) -> int | None:
    """Return the time of the last checkpoint in nanoseconds, if there is one."""
    with suppress(FileNotFoundError):
        return (place / "outputs/run" / checkpoint.LAST).stat().st_mtime_ns
    return None


def outcome(place: Path) -> list[object]:
    run = place / "outputs/run"
    weights = [checkpoint.load_newest(run), checkpoint.load_checkpoint(run / checkpoint.BEST)]
    return [digest(weights), read_table(run / run_dir.METRICS_FILE), run_dir.read_results(run)["test"]]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds the processes of a run in /proc")
def test_killed_processes_resume_on_another_number_of_them(tmp_path: Path) -> None:
    for _ in compare_chains(tmp_path, KILLS_PER_CHAIN, train_whole, kill_until_finished, outcome):
        pass
