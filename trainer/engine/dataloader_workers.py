"""Batches from worker processes, and the error when one of these fails, dies or hangs."""

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
from trainer.core.dataset import Split
from trainer.utils import signals
from trainer.utils.errors import DataError, SystemFault, UserError

log = logging.getLogger(__name__)

MAX_LISTED_ROWS = 8
"""Rows of a batch that are named."""
FetchResult = Batch | UserError | DataError
"""A batch, or why it cannot be read."""
JOIN_TIMEOUT_SECONDS = 1.0
"""Seconds to wait for the end of a worker that no longer answers."""


class WorkerError(UserError):
    """A row that cannot be read, or a process that should have read it."""


class WorkerMonitor:
    """The worker processes of one loader and the rows each is to read next, so that their end can be explained.

    torch would raise at the death of a worker wherever the run happens to be, in the middle of a save as well. Here it
    is noticed where a batch is waited for.
    """

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.is_waiting = False
        self.workers: Sequence[BaseProcess] = ()
        self.batch_order: Sequence[Tensor] = ()
        self.num_received = 0

    @contextmanager
    def watch_workers(self, workers: Sequence[BaseProcess], order: Sequence[Tensor]) -> Iterator[None]:
        """A block in which the batches of an order are waited for."""
        self.workers, self.batch_order, self.num_received = workers, order, 0
        if not workers or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGCHLD, self._on_sigchld)
        try:
            yield
        finally:
            # Unless a generator that was left alone ends late, after another watch has begun.
            if signal.getsignal(signal.SIGCHLD) == self._on_sigchld:
                is_torchs = getattr(before, "__module__", "").startswith("torch.")
                signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_torchs else before)

    def next_batch(self, batches: Iterator[FetchResult]) -> FetchResult | None:
        """The next batch; None after the last. Raises WorkerFault if there will never be one."""
        self.is_waiting = True
        try:
            self._raise_if_dead()
            found = next(batches, None)
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
        return found

    def _join_ended(self) -> None:
        """The connection to a worker breaks a moment before the worker is known to be dead."""
        ended = connection.wait([worker.sentinel for worker in self.workers], JOIN_TIMEOUT_SECONDS)
        for worker in self.workers:
            if worker.sentinel in ended:
                worker.join(JOIN_TIMEOUT_SECONDS)

    def _on_sigchld(self, _: int, __: FrameType | None) -> None:
        if self.is_waiting:
            self._raise_if_dead()

    def _raise_if_dead(self) -> None:
        """Raises WorkerFault for a worker that has died."""
        for number, worker in enumerate(self.workers):
            code = worker.exitcode
            if code:
                end = f"was killed by {signals.describe_signal(-code)}" if code < 0 else f"ended with exit code {code}"
                raise self._make_error(number, f"(process {worker.pid}) {end}")

    def _make_error(self, number: int, end: str) -> WorkerError:
        """The batches go round: the next one of a worker is the first still awaited whose turn is its."""
        ahead = (number - self.num_received) % len(self.workers)
        rows = self.batch_order[self.num_received + ahead : self.num_received + ahead + 1]
        task = f"it was to read {_format_rows(rows[0])}" if rows else "it had read all its rows"
        return WorkerError(f"data worker {number} {end}; {task}")


def _format_rows(rows: Tensor) -> str:
    numbers = rows.tolist()
    shown = ", ".join(map(str, numbers[:MAX_LISTED_ROWS])) + (", ..." if len(numbers) > MAX_LISTED_ROWS else "")
    return f"row{'s' if len(numbers) > 1 else ''} {shown}"


class _SplitDataset(Dataset[FetchResult]):
    """Asks a split for whole batches, so that a worker does what the main process would have done."""

    def __init__(self, split: Split, epoch: int):
        self.split = split
        self.epoch = epoch

    def __getitem__(self, index: Tensor) -> FetchResult:
        # Raised here, an error would arrive with the worker's traceback for a message.
        try:
            return self.split.batch(index, self.epoch)
        except (UserError, DataError) as error:
            return error
        except Exception as error:
            return self._make_error(index, error)

    def _make_error(self, index: Tensor, error: Exception) -> UserError:
        detail = traceback.format_exc()
        worker = get_worker_info()
        where = f" (data worker {worker.id})" if worker is not None else ""
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        kind = SystemFault if isinstance(error, OSError | MemoryError) else WorkerError
        fault = kind(f"cannot read {_format_rows(self._find_bad_row(index, error))}{where}: {cause}")
        fault.add_note(detail)
        return fault

    def _find_bad_row(self, index: Tensor, error: Exception) -> Tensor:
        """The row by which a batch fails, or all of them if each by itself can be read."""
        rows: Sequence[Tensor] = index.split(1)
        for row in rows:
            try:
                self.split.batch(row, self.epoch)
            except type(error):
                return row
            except Exception as other:
                log.info("row %d: %s", int(row), other)
        return index


def _log_worker_error(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """For the thread that hands batches over, when the main process no longer takes them."""
    log.info("data worker: %s: %s", kind.__name__, error)


def _detach_worker_signals(_: int) -> None:
    """Takes a worker out of the group and forgets what was sent to it before; ended by name or by its parent it is."""
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
    watch: WorkerMonitor,
) -> Iterator[Batch]:
    """The batches of an epoch as they are read, by other processes if there are to be any.

    Raises what the split raises, in words for its user.
    """
    with warnings.catch_warnings():
        # Told once by who shows the run, and not for every split.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            _SplitDataset(split, epoch),
            sampler=order,
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            timeout=watch.timeout if workers else 0,
            worker_init_fn=_detach_worker_signals,
            # An own generator, or making the iterator would draw from the one that training uses.
            generator=rng.make_generator(seed, epoch),
        )
        with signals.block_signals():
            batches = iter(loader)
    with watch.watch_workers(getattr(batches, "_workers", ()), order):
        while (batch := watch.next_batch(batches)) is not None:
            if isinstance(batch, UserError | DataError):
                for detail in getattr(batch, "__notes__", ()):
                    log.info("%s", detail)
                try:
                    raise batch
                finally:
                    # The error holds this frame: what is held here lives as long, and workers are waited for in vain.
                    del batch, batches
            yield batch.to(device)
