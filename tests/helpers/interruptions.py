"""Chains of interrupted and resumed runs, each compared with an uninterrupted run."""

from __future__ import annotations

import csv
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

Interrupt = Callable[[Path, random.Random, float], int]
"""Trains in a folder with interruptions at random times, given the seconds of a whole run; returns their number."""


def compare_chains(
    folder: Path, count: int, train: Callable[[Path], int], interrupt: Interrupt, outcome: Callable[[Path], Any]
) -> Iterator[Path]:
    """Yield the folder of each chain after comparing it with an uninterrupted run, until ``count`` interruptions."""
    unbroken = folder / "unbroken"
    unbroken.mkdir()
    started = time.monotonic()
    assert train(unbroken) == 0
    seconds = time.monotonic() - started
    expected = outcome(unbroken)
    draw = random.Random(1)
    done, chains = 0, 0
    while done < count:
        place = folder / f"chain{chains}"
        place.mkdir()
        done += interrupt(place, draw, seconds)
        assert outcome(place) == expected, f"chain {chains} differs"
        chains += 1
        yield place
    print(f"{done} interruptions in {chains} chains, {time.monotonic() - started:.0f} s", file=sys.stderr)


def wait(pid: int) -> int:
    """Wait for a child process and return its exit code."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def read_table(file: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file without wall-clock times."""
    with file.open() as table:
        return [{name: cell for name, cell in row.items() if name != "seconds"} for row in csv.DictReader(table)]
