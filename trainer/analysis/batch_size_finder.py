"""``train find batch_size``: the size is doubled until memory is exhausted or throughput does not rise any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from trainer.analysis.find_setup import build_for_search
from trainer.config.run_config import Config
from trainer.engine import device
from trainer.engine.callbacks import Callback
from trainer.engine.signal_callback import SignalCallback
from trainer.engine.step_timer import StepTimer
from trainer.utils.errors import ConfigError
from trainer.utils.memory import count_machine_bytes, read_resident_bytes
from trainer.utils.signals import StopFlag

FIRST_SIZE = 8
GAIN = 1.05
"""Ratio of throughputs below which a doubled batch is not faster."""
PATIENCE = 2
"""Doublings without gain after which the search ends."""
SECONDS = 1.0
"""Time for which the steps of a size are timed."""
MEMORY_SHARE = 0.8
"""Share of the memory of the machine that the next size may be expected to need."""


@dataclass(frozen=True)
class Throughput:
    """Throughput of a batch size.

    Args:
        batch_size: Rows of a batch.
        rows_per_second: Rows that are trained in a second.
    """

    batch_size: int
    rows_per_second: float


@dataclass(frozen=True)
class Search:
    """Batch sizes that were run, and why the search ended.

    Args:
        results: Their throughputs, by size.
        reason: Why no larger one was run.
    """

    results: Sequence[Throughput]
    reason: str

    @property
    def chosen(self) -> int:
        """The smallest size that is nearly as fast as the fastest one."""
        best = max(result.rows_per_second for result in self.results)
        return next(result.batch_size for result in self.results if result.rows_per_second * GAIN >= best)


def search_batch_size(config: Config, flag: StopFlag) -> Search:
    """Time doubled batch sizes.

    Args:
        config: Configuration of the command line.
        flag: Flag that records signals.

    Raises:
        ConfigError: The data has no batches, or the task has several losses, such as a GAN.
        SystemFault: Not even the smallest size fits in memory.
    """
    results: list[Throughput] = []
    data, size, without_gain = None, FIRST_SIZE, 0
    while True:
        before = read_resident_bytes()
        try:
            # A step with the rows that are left over would be counted as one of a whole batch; of the first size,
            # there are many others. One whole graph has no full batch.
            changes = {"batch_size": size, "max_steps": 10**6, "drop_last": bool(results)}
            training = build_for_search(config, changes, {}, data)
            data = training.data
            num_rows = len(data.train)
            if num_rows == 1:
                raise ConfigError(f"find batch_size: data {config.names['data']} is one whole graph, without batches")
            timer = StepTimer(SECONDS)
            flag.defer_stop()
            callbacks: list[Callback] = [timer, SignalCallback(flag)]
            trainer = training.make_trainer(callbacks)
            trainer.strategy.start(trainer)
            while not trainer.should_stop:
                timer.start_epoch()
                trainer.train_epoch()
                trainer.epoch, trainer.batch = trainer.epoch + 1, 0
        except (RuntimeError, MemoryError) as error:
            if not device.is_out_of_memory(error) or not results:
                raise
            return Search(results, f"{size:,} rows do not fit in memory")
        best = max((result.rows_per_second for result in results), default=0.0)
        rate = min(size, num_rows) * config.settings.accumulate / timer.mean_seconds
        results.append(Throughput(size, rate))
        del training, trainer, callbacks  # the next size needs the memory
        without_gain = 0 if rate > GAIN * best else without_gain + 1
        if without_gain == PATIENCE:
            return Search(results, "larger batches are not faster")
        size *= 2
        if size > num_rows:
            return Search(results, f"there are {num_rows:,} training rows")
        if read_resident_bytes() + 2 * max(0, read_resident_bytes() - before) > MEMORY_SHARE * count_machine_bytes():
            return Search(results, f"{size:,} rows would hardly fit in memory")
