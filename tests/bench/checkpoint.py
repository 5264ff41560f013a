"""Time that training waits for a checkpoint of a model of 100 MB, against the time of its write.

    python -m tests.bench.checkpoint

Each round saves the state of a perceptron with Adam (300 MB) once before training continues, and once while it
continues. Training waits in the callback, which copies the weights, and before the next update, until the vectors of
the optimizer are copied. The slowdown is what steps during the write take longer than other steps, because they share
the machine with it; it depends on the number of cores.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from tests.helpers.lab import lab
from trainer.engine.checkpoint import CheckpointManager
from trainer.engine.checkpoint_callback import CheckpointCallback
from trainer.engine.device import keep_freed_memory
from trainer.engine.trainer import Trainer

ROUNDS = 15
OVERRIDES = (
    *("model=mlp", "data=moons", "data.rows=64", "model.hidden=[5000,4995]", "batch_size=8", "epochs=1"),
    *("save_every=null", "val_every=1000"),
)


def measure(work: Callable[[], object]) -> float:
    """Return the seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Session:
    """A trainer whose steps are taken one by one, with a callback that saves on demand."""

    def __init__(self, trainer: Trainer, saver: CheckpointCallback):
        self.trainer, self.saver = trainer, saver
        self.batch = next(trainer.train_loader.iter_epoch(0))
        self.group = trainer.param_groups["model"]
        self.waited = 0.0

        def wait() -> None:
            self.waited += measure(saver.writer.wait_until_prepared)

        self.group.before_change = wait

    def step(self) -> None:
        self.trainer.update_param_group(self.group, [self.batch])

    def save_and_train(self) -> tuple[float, list[float]]:
        """Save while training; return the seconds that training waits, and those of the steps meanwhile."""
        self.waited = 0.0
        seconds = measure(lambda: self.saver._start_save(self.trainer))
        steps = []
        while self.saver.writer.is_busy:
            steps.append(measure(self.step))
        seconds += measure(lambda: self.saver._finish_write(self.trainer))
        return seconds + self.waited, steps


def main() -> None:
    torch.set_num_threads(1)
    keep_freed_memory()
    with tempfile.TemporaryDirectory(dir=".") as directory:
        trainer = lab(*OVERRIDES).trainer
        saver = CheckpointCallback(CheckpointManager(Path(directory), {}), None)
        session = Session(trainer, saver)
        for _ in range(3):
            session.step()
            session.save_and_train()
        ratios, blocking, waiting, slowdowns = [], [], [], []
        for _ in range(ROUNDS):
            quiet = statistics.median(measure(session.step) for _ in range(5))
            blocking.append(measure(lambda: saver.save(trainer)))
            waited, steps = session.save_and_train()
            waiting.append(waited)
            ratios.append(waited / blocking[-1])
            slowdowns.append((sum(steps) - len(steps) * quiet) / blocking[-1])
    megabytes = trainer.param_groups["model"].params.data.nbytes / 1e6
    print(f"model of {megabytes:.0f} MB, steps of {quiet * 1e3:.0f} ms, median of {ROUNDS} rounds")
    print(f"write while training waits       {statistics.median(blocking) * 1e3:7.1f} ms")
    print(f"wait for a write in background   {statistics.median(waiting) * 1e3:7.1f} ms")
    print(f"wait / write                     {statistics.median(ratios):7.1%}")
    print(f"slowdown of steps / write        {statistics.median(slowdowns):7.1%}")


if __name__ == "__main__":
    main()
