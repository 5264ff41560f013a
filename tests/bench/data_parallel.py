"""Steps a second of two processes with one thread each against one process with one thread, and with two.

``python -m tests.bench.data_parallel [NAME ...]``: one process takes the steps of two shards in turn, two processes
take one each. Two processes without exchange train half of each batch alone, which is what the machine can give.
All cases take a few steps in turn; the table has medians over the rounds of the ratios, by the median step, by the
fastest step, which other programs disturb least, and the CPU time of a process.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Generator
from functools import partial
from typing import Any, NamedTuple

import torch

from tests.helpers.lab import lab
from tests.helpers.process_groups import run_processes
from trainer.core.batch import Batch
from trainer.engine import device
from trainer.engine.data_parallel import DataParallel
from trainer.engine.dataloader import Loader
from trainer.engine.overlapped_data_parallel import OverlappedDataParallel
from trainer.engine.process_group import ProcessGroup, SingleProcess
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


TWO_THREADS = "1 process, 2 threads"
CASES: dict[str, tuple[int, int, Any]] = {
    "1 process, 1 thread": (1, 1, lambda _: SingleDevice()),
    "1 process, 1 thread, 2 shards": (1, 1, lambda group: DataParallel(group, 2)),
    "2 processes, no exchange": (2, 1, Half),
    "2 processes, exact": (2, 1, lambda group: DataParallel(group, 2)),
    "2 processes, exact=false": (2, 1, OverlappedDataParallel),
    TWO_THREADS: (1, 2, lambda _: SingleDevice()),
}
"""Number of processes, threads of each, and strategy."""


class StepTime(NamedTuple):
    """Seconds of a step: those of the median and of the fastest step, and the median CPU time."""

    median: float
    fastest: float
    cpu: float


class Runner:
    """Takes steps of one case.

    Args:
        words: Overrides of the run.
        case: Name of the case.
        group: Two processes, of which the case may use only the first.
    """

    def __init__(self, words: tuple[str, ...], case: str, group: ProcessGroup):
        size, self.threads, make_strategy = CASES[case]
        self.takes_part = group.rank < size
        strategy = make_strategy(group if size > 1 else SingleProcess()) if self.takes_part else None
        self.trainer = lab(*words, "max_steps=10000", strategy=strategy).trainer
        if self.takes_part:
            self.trainer.strategy.start(self.trainer)
        batches = self.trainer.strategy.iter_epoch(self.trainer.train_loader, 0, 0)
        self.batches = [next(batches) for _ in range(4)]
        self.trainer.task.train()

    def take_steps(self, count: int) -> StepTime:
        torch.set_num_threads(self.threads)
        seconds, cpu_seconds = [], []
        for number in range(count if self.takes_part else 0):
            started, cpu_started = time.perf_counter(), time.process_time()
            batch = self.batches[number % len(self.batches)]
            self.trainer.update_param_group(self.trainer.param_groups["model"], [batch])
            seconds.append(time.perf_counter() - started)
            cpu_seconds.append(time.process_time() - cpu_started)
        torch.set_num_threads(1)
        if not self.takes_part:
            return StepTime(0.0, 0.0, 0.0)
        return StepTime(statistics.median(seconds), min(seconds), statistics.median(cpu_seconds))


def measure(
    words: tuple[str, ...], cases: list[str], rounds: int, steps: int, group: ProcessGroup
) -> dict[str, list[StepTime]]:
    """Return the times of the steps of cases in each round; a process that is not needed waits."""
    torch.set_num_threads(1)
    device.keep_freed_memory()
    runners = {case: Runner(words, case, group) for case in cases}
    times: dict[str, list[StepTime]] = {case: [] for case in cases}
    for _ in range(rounds + 1):
        for case, runner in runners.items():
            group.find_maximum([0])
            found = group.all_gather_objects(runner.take_steps(steps))
            times[case].append(StepTime(*map(max, zip(*found, strict=True))))
    return {case: values[1:] for case, values in times.items()}  # the first ones include warm-up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*RUNS, []], help="models; by default all")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--two-threads", action="store_true", help="also measure them; they need two free cores")
    options = parser.parse_args()
    cases = [case for case in CASES if case != TWO_THREADS or options.two_threads]
    for name in options.names or RUNS:
        run = partial(measure, RUNS[name], cases, options.rounds, options.steps)
        times = run_processes(2, run)[0]
        base = times["1 process, 1 thread"]
        print(f"{name}: {statistics.median(step.median for step in base) * 1000:.1f} ms a step, 1 process, 1 thread")
        for case, values in times.items():
            ratio = statistics.median(one.median / other.median for one, other in zip(base, values, strict=True))
            fastest = min(step.fastest for step in base) / min(step.fastest for step in values)
            cpu = statistics.median(step.cpu for step in values) * 1000
            print(f"  {case:32} {ratio:.2f}x the steps a second ({fastest:.2f}x by the fastest), {cpu:.1f} ms CPU")


if __name__ == "__main__":
    main()
