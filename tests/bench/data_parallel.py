"""Steps a second of two processes with one thread each against one process with one thread, and with two.

``python -m tests.bench.data_parallel``: one process takes the steps of two shards in turn, two processes take one each.
Rounds are interleaved; the table has medians of the ratios.
"""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import torch

from tests.helpers.lab import lab
from tests.helpers.process_groups import run_processes
from trainer.engine import device
from trainer.engine.data_parallel import DataParallel
from trainer.engine.overlapped_data_parallel import OverlappedDataParallel
from trainer.engine.process_group import ProcessGroup
from trainer.engine.strategy import SingleDevice

RUNS = {
    "cnn": ("model=resnet", "data=digits", "data.size=32", "batch_size=128"),
    "vit": ("model=vit_tiny", "data=digits", "data.size=32", "batch_size=256"),
}
CASES: dict[str, tuple[int, int, Any]] = {
    "1 process, 1 thread": (1, 1, lambda _: SingleDevice()),
    "1 process, 2 threads": (1, 2, lambda _: SingleDevice()),
    "1 process, 1 thread, 2 shards": (1, 1, lambda group: DataParallel(group, 2)),
    "2 processes, exact": (2, 1, lambda group: DataParallel(group, 2)),
    "2 processes, exact=false": (2, 1, OverlappedDataParallel),
}
"""Number of processes, threads of each, and strategy."""


def measure(words: tuple[str, ...], steps: int, threads: int, make_strategy: Any, group: ProcessGroup) -> float:
    """Return the seconds of a step."""
    torch.set_num_threads(threads)
    device.keep_freed_memory()
    trainer = lab(*words, "max_steps=1000", strategy=make_strategy(group)).trainer
    trainer.strategy.start(trainer)
    batches = trainer.strategy.iter_epoch(trainer.train_loader, 0, 0)
    loaded = [next(batches) for _ in range(4)]
    trainer.task.train()
    seconds = []
    for number in range(steps + 3):
        started = time.perf_counter()
        trainer.update_param_group(trainer.param_groups["model"], [loaded[number % len(loaded)]])
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[3:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    for name, words in RUNS.items():
        times: dict[str, list[float]] = {case: [] for case in CASES}
        for _ in range(options.rounds):
            for case, (size, threads, make) in CASES.items():
                found = run_processes(
                    size, lambda group, t=threads, m=make, w=words: measure(w, options.steps, t, m, group)
                )
                times[case].append(max(found))
        base = times["1 process, 1 thread"]
        print(f"{name}: {statistics.median(base) * 1000:.1f} ms a step on one process with one thread")
        for case, values in times.items():
            ratio = statistics.median(one / other for one, other in zip(base, values, strict=True))
            print(f"  {case:32} {ratio:.2f}x the steps a second")


if __name__ == "__main__":
    main()
