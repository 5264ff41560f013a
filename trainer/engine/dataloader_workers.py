"""Batches from worker processes, and errors of workers that fail, die or hang."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import connection
from multiprocessing.process import BaseProcess
from types import FrameType, TracebackType

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from trainer.core import rng
from trainer.core.batch import Batch
from trainer.core.split import Split
from trainer.utils import signals
from trainer.utils.errors import DataError, SystemFault, UserError

log = logging.getLogger(__name__)

MAX_LISTED_ROWS = 8
"""Maximum number of rows of a batch that a message lists."""
FetchResult = Batch | UserError | DataError
"""A batch, or the error that prevented reading it."""
SHUTDOWN_SECONDS = 1.0
"""Seconds that workers have to end after an epoch, before they are killed."""
JOIN_TIMEOUT_SECONDS = 1.0
"""Seconds to wait for a worker that no longer responds to end."""


class WorkerError(UserError):
    """A row that cannot be read, or a worker that has failed."""


class WorkerMonitor:
    """Monitors the worker processes of an epoch, so that an error names the rows that a dead worker should have read.

    torch raises the death of a worker wherever the main process is, even while it writes a checkpoint. Here it is
    raised only while waiting for a batch.

    Args:
        timeout: Seconds to wait for a batch.
    """

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.is_waiting = False
        self.workers: Sequence[BaseProcess] = ()
        self.batch_order: Sequence[Tensor] = ()
        self.num_received = 0

    @contextmanager
    def watch_workers(self, batches: Iterator[FetchResult], order: Sequence[Tensor]) -> Iterator[None]:
        """Monitor the workers of an iterator within the block, at whose end they have ended.

        Args:
            batches: Iterator of a DataLoader.
            order: Row indices of the batches, in order.
        """
        self.workers, self.batch_order, self.num_received = getattr(batches, "_workers", ()), order, 0
        # Only the main thread can install handlers.
        is_handled = bool(self.workers) and threading.current_thread() is threading.main_thread()
        previous_handler = signal.signal(signal.SIGCHLD, self._on_sigchld) if is_handled else None
        try:
            yield
        finally:
            _end_workers(batches, self.workers)
            # An abandoned generator may end late, after another one has installed its handler, or in another thread.
            is_main_thread = threading.current_thread() is threading.main_thread()
            if is_handled and is_main_thread and signal.getsignal(signal.SIGCHLD) == self._on_sigchld:
                is_torch_handler = getattr(previous_handler, "__module__", "").startswith("torch.")
                signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_torch_handler else previous_handler)

    def next_batch(self, batches: Iterator[FetchResult]) -> FetchResult | None:
        """Return the next batch; None after the last one.

        Raises:
            WorkerError: A worker has died or timed out.
        """
        self.is_waiting = True
        try:
            self._raise_if_dead()
            batch = next(batches, None)
        except (RuntimeError, OSError, EOFError) as error:
            if not isinstance(error, RuntimeError):
                self._join_ended()
            self._raise_if_dead()
            if "DataLoader timed out" not in str(error):
                raise
            number = self.num_received % len(self.workers)
            raise self._make_error(number, f"gave no batch for {self.timeout:g} s (worker_timeout)") from error
        finally:
            self.is_waiting = False
        self.num_received += 1
        return batch

    def _join_ended(self) -> None:
        """Join ended workers: the connection breaks shortly before the exit code is available."""
        ready = connection.wait([worker.sentinel for worker in self.workers], JOIN_TIMEOUT_SECONDS)
        for worker in self.workers:
            if worker.sentinel in ready:
                worker.join(JOIN_TIMEOUT_SECONDS)

    def _on_sigchld(self, _: int, __: FrameType | None) -> None:
        if self.is_waiting:
            self._raise_if_dead()

    def _raise_if_dead(self) -> None:
        """Raise WorkerError if a worker has died."""
        for number, worker in enumerate(self.workers):
            code = worker.exitcode
            if code:
                outcome = (
                    f"was killed by {signals.describe_signal(-code)}" if code < 0 else f"ended with exit code {code}"
                )
                raise self._make_error(number, f"(process {worker.pid}) {outcome}")

    def _make_error(self, number: int, outcome: str) -> WorkerError:
        """Make the error of a worker, with the rows that it should have read next: batches are assigned round-robin."""
        batches_ahead = (number - self.num_received) % len(self.workers)
        rows = self.batch_order[self.num_received + batches_ahead : self.num_received + batches_ahead + 1]
        task = f"its next batch was {_format_rows(rows[0])}" if rows else "it had read all its rows"
        return WorkerError(f"data worker {number} {outcome}; {task}")


def _format_rows(rows: Tensor) -> str:
    numbers = rows.tolist()
    row_numbers = ", ".join(map(str, numbers[:MAX_LISTED_ROWS])) + (", ..." if len(numbers) > MAX_LISTED_ROWS else "")
    return f"row{'s' if len(numbers) > 1 else ''} {row_numbers}"


class _SplitDataset(Dataset[FetchResult]):
    """Dataset whose items are whole batches of a split, as in the main process."""

    def __init__(self, split: Split, epoch: int):
        self.split = split
        self.epoch = epoch

    def __getitem__(self, index: Tensor) -> FetchResult:
        # If it were raised here, the message would be the traceback of the worker.
        try:
            return self.split.batch(index, self.epoch)
        except (UserError, DataError) as error:
            return error
        except Exception as error:
            return self._make_error(index, error)

    def _make_error(self, index: Tensor, error: Exception) -> UserError:
        detail = traceback.format_exc()
        worker = get_worker_info()
        worker_text = f" (data worker {worker.id})" if worker is not None else ""
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        kind = SystemFault if isinstance(error, OSError | MemoryError) else WorkerError
        user_error = kind(f"cannot read {_format_rows(self._find_bad_row(index, error))}{worker_text}: {cause}")
        user_error.add_note(detail)
        return user_error

    def _find_bad_row(self, index: Tensor, error: Exception) -> Tensor:
        """Return the first row that raises the error, or all rows if each row can be read separately."""
        rows: Sequence[Tensor] = index.split(1)
        for row in rows:
            try:
                self.split.batch(row, self.epoch)
            except type(error):
                return row
            except Exception as other_error:
                log.info("row %d: %s", int(row), other_error)
        return index


def _end_workers(batches: Iterator[FetchResult], workers: Sequence[BaseProcess]) -> None:
    """End the workers of an iterator in the order of torch, and kill those that are still reading.

    When the iterator of an unfinished epoch is deleted instead, torch waits up to 5 s for each worker; it always waits
    that long if the garbage collector deletes it in the thread that sends to the workers.
    """
    if not workers:
        return
    timer = threading.Timer(SHUTDOWN_SECONDS, _kill_all, [workers])
    timer.daemon = True
    timer.start()
    try:
        batches._shutdown_workers()  # type: ignore[attr-defined]
    finally:
        timer.cancel()


def _kill_all(workers: Sequence[BaseProcess]) -> None:
    for worker in workers:
        worker.kill()


def _log_worker_error(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """Log exceptions of a worker, such as those of its queue thread when the main process has stopped reading."""
    log.info("data worker: %s: %s", kind.__name__, error)


def _detach_worker_signals(_: int) -> None:
    """Move a worker to its own process group and reset its signals: it ends on SIGTERM or with its parent."""
    os.setpgid(0, 0)
    for number in signals.STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOP_SIGNALS)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.excepthook = _log_worker_error
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        signals.end_with_parent(parent.pid, signal.SIGKILL)


def fetch_batches(
    split: Split,
    order: list[Tensor],
    epoch: int,
    *,
    workers: int,
    device: torch.device,
    seed: int,
    monitor: WorkerMonitor,
) -> Iterator[Batch]:
    """Iterate over the batches of an epoch, loaded by worker processes if there are any.

    Args:
        split: The split.
        order: Row indices of the batches.
        epoch: Number of the epoch, from 0.
        workers: Number of worker processes.
        device: Device of the batches.
        seed: Seed of the workers.
        monitor: Monitors the workers.

    Raises:
        UserError: A row cannot be read, or a worker has failed.
    """
    with warnings.catch_warnings():
        # The console reports this once instead of once per split.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            _SplitDataset(split, epoch),
            sampler=order,
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            timeout=monitor.timeout if workers else 0,
            worker_init_fn=_detach_worker_signals,
            # A separate generator, because creating the iterator draws from it.
            generator=rng.make_generator(seed, epoch),
        )
        with signals.block_signals():
            batches = iter(loader)
    with monitor.watch_workers(batches, order):
        while (batch := monitor.next_batch(batches)) is not None:
            if isinstance(batch, UserError | DataError):
                for detail in getattr(batch, "__notes__", ()):
                    log.info("%s", detail)
                raise batch
            yield batch.to(device)
