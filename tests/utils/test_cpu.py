"""Clocks of the processors."""

from __future__ import annotations

import subprocess
import sys
import time

from trainer.utils.cpu import make_clock, read_child_cpu_seconds


def test_the_time_of_the_processors_counts_child_processes_that_have_ended() -> None:
    clock = make_clock(cpu_time=True)
    own_before, child_before, before = time.process_time(), read_child_cpu_seconds(), clock()
    subprocess.run([sys.executable, "-c", "sum(range(10**5))"], check=True)
    child_seconds = read_child_cpu_seconds() - child_before
    assert child_seconds > 0
    assert before + child_seconds <= clock() <= before + child_seconds + time.process_time() - own_before + 1e-6


def test_the_other_clock_is_monotonic() -> None:
    assert make_clock(cpu_time=False) is time.monotonic
