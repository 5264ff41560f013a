"""Steps a second of two processes with one thread each against one process with one thread, and with two.

``python -m tests.bench.data_parallel [NAME ...]``: one process takes the steps of two shards in turn, two processes
take one each. Two processes without exchange train half of each batch alone, which is what the machine can give.
Rounds are interleaved; the table has medians of the ratios, by the median step, by the fastest step, which other
programs disturb least, and the CPU time of a process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Generator
from typing import Any, NamedTuple

import torch

from tests.helpers.lab import lab
from tests.helpers.process_groups import run_processes
from trainer.core.batch import Batch
from trainer.engine import device
from trainer.engine.data_parallel import DataParallel
from trainer.engine.dataloader import Loader
from trainer.engine.overlapped_data_parallel import OverlappedDataParallel
from trainer.engine.process_group import ProcessGroup
from trainer.engine.shards import split_rows
from trainer.engine.strategy import SingleDevice

RUNS = {
    "cnn": ("model=resnet", "data=digits", "data.size=32", "batch_size=128"),
    "vit": ("model=vit_tiny", "data=digits", "data.size=32", "batch_size=256"),
    "vit192": (
        *("model=vit_tiny", "model.embed_size=192", "model.hidden=768", "model.heads=3"),
        *("data=digits", "data.size=32", "batch_size=64"),
    ),
}


class Half(SingleDevice):
    """Trains one half of each batch, without the other process."""

    def __init__(self, group: ProcessGroup):
        super().__init__()
        self.rank = group.rank

    def iter_epoch(self, loader: Loader, epoch: int, start: int) -> Generator[Batch, None, None]:
        order = loader.make_batch_order(epoch)[start:]
        return loader.iter_rows([split_rows(rows, 2)[self.rank] for rows in order], epoch)


CASES: dict[str, tuple[int, int, Any]] = {
    "1 process, 1 thread": (1, 1, lambda _: SingleDevice()),
    "1 process, 2 threads": (1, 2, lambda _: SingleDevice()),
    "1 process, 1 thread, 2 shards": (1, 1, lambda group: DataParallel(group, 2)),
    "2 processes, no exchange": (2, 1, Half),
    "2 processes, exact": (2, 1, lambda group: DataParallel(group, 2)),
    "2 processes, exact=false": (2, 1, OverlappedDataParallel),
}
"""Number of processes, threads of each, and strategy."""


class StepTime(NamedTuple):
    """Seconds of a step: those of the median and of the fastest step, and the median CPU time."""

    median: float
    fastest: float
    cpu: float


def measure(words: tuple[str, ...], steps: int, threads: int, make_strategy: Any, group: ProcessGroup) -> StepTime:
    """Return the time of a step."""
    torch.set_num_threads(threads)
    device.keep_freed_memory()
    trainer = lab(*words, "max_steps=1000", strategy=make_strategy(group)).trainer
    trainer.strategy.start(trainer)
    batches = trainer.strategy.iter_epoch(trainer.train_loader, 0, 0)
    loaded = [next(batches) for _ in range(4)]
    trainer.task.train()
    seconds, cpu_seconds = [], []
    for number in range(steps + 3):
        started, cpu_started = time.perf_counter(), time.process_time()
        trainer.update_param_group(trainer.param_groups["model"], [loaded[number % len(loaded)]])
        seconds.append(time.perf_counter() - started)
        cpu_seconds.append(time.process_time() - cpu_started)
    return StepTime(statistics.median(seconds[3:]), min(seconds[3:]), statistics.median(cpu_seconds[3:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], help="models; by default all")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=15)
    options = parser.parse_args()
    for name in options.names or RUNS:
        words = RUNS[name]
        times: dict[str, list[StepTime]] = {case: [] for case in CASES}
        for _ in range(options.rounds):
            for case, (size, threads, make) in CASES.items():
                found = run_processes(
                    size, lambda group, t=threads, m=make, w=words: measure(w, options.steps, t, m, group)
                )
                times[case].append(StepTime(*map(max, zip(*found, strict=True))))
        base = times["1 process, 1 thread"]
        print(f"{name}: {statistics.median(step.median for step in base) * 1000:.1f} ms a step, 1 process, 1 thread")
        for case, values in times.items():
            ratio = statistics.median(one.median / other.median for one, other in zip(base, values, strict=True))
            fastest = min(step.fastest for step in base) / min(step.fastest for step in values)
            cpu = statistics.median(step.cpu for step in values) * 1000
            print(f"  {case:32} {ratio:.2f}x the steps a second ({fastest:.2f}x by the fastest), {cpu:.1f} ms CPU")


if __name__ == "__main__":
    main()
