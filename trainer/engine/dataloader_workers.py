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
from trainer.utils.errors import SystemFault, UserError

log = logging.getLogger(__name__)

SHOWN = 8
"""Rows of a batch that are named."""
GRACE = 1.0
"""Seconds to wait for the end of a worker that no longer answers."""


class WorkerFault(UserError):
    """A row that cannot be read, or a process that should have read it."""


class Watch:
    """The worker processes of one loader and the rows each is to read next, so that their end can be explained.

    torch would raise at the death of a worker wherever the run happens to be, in the middle of a save as well. Here it
    is noticed where a batch is waited for.
    """

    def __init__(self, timeout: float):
        self.timeout = timeout
        self.waits = False
        self.workers: Sequence[BaseProcess] = ()
        self.order: Sequence[Tensor] = ()
        self.received = 0

    @contextmanager
    def over(self, workers: Sequence[BaseProcess], order: Sequence[Tensor]) -> Iterator[None]:
        """A block in which the batches of an order are waited for."""
        self.workers, self.order, self.received = workers, order, 0
        if not workers or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGCHLD, self._hear)
        try:
            yield
        finally:
            # Unless a generator that was left alone ends late, after another watch has begun.
            if signal.getsignal(signal.SIGCHLD) == self._hear:
                is_torchs = getattr(before, "__module__", "").startswith("torch.")
                signal.signal(signal.SIGCHLD, signal.SIG_DFL if is_torchs else before)

    def next(self, batches: Iterator[Batch | UserError]) -> Batch | UserError | None:
        """The next batch; None after the last. Raises WorkerFault if there will never be one."""
        self.waits = True
        try:
            self._check()
            found = next(batches, None)
        except (RuntimeError, OSError, EOFError) as error:
            if not isinstance(error, RuntimeError):
                self._await_end()
            self._check()
            if "DataLoader timed out" not in str(error):
                raise
            number = self.received % len(self.workers)
            raise self._fault(number, f"gave no batch for {self.timeout:g} s (worker_timeout)") from error
        finally:
            self.waits = False
        self.received += 1
        return found

    def _await_end(self) -> None:
        """The connection to a worker breaks a moment before the worker is known to be dead."""
        ended = connection.wait([worker.sentinel for worker in self.workers], GRACE)
        for worker in self.workers:
            if worker.sentinel in ended:
                worker.join(GRACE)

    def _hear(self, _: int, __: FrameType | None) -> None:
        if self.waits:
            self._check()

    def _check(self) -> None:
        """Raises WorkerFault for a worker that has died."""
        for number, worker in enumerate(self.workers):
            code = worker.exitcode
            if code:
                end = f"was killed by {signals.named(-code)}" if code < 0 else f"ended with exit code {code}"
                raise self._fault(number, f"(process {worker.pid}) {end}")

    def _fault(self, number: int, end: str) -> WorkerFault:
        """The batches go round: the next one of a worker is the first still awaited whose turn is its."""
        ahead = (number - self.received) % len(self.workers)
        rows = self.order[self.received + ahead : self.received + ahead + 1]
        task = f"it was to read {_named(rows[0])}" if rows else "it had read all its rows"
        return WorkerFault(f"data worker {number} {end}; {task}")


def _named(rows: Tensor) -> str:
    numbers = rows.tolist()
    shown = ", ".join(map(str, numbers[:SHOWN])) + (", ..." if len(numbers) > SHOWN else "")
    return f"row{'s' if len(numbers) > 1 else ''} {shown}"


class _Fetch(Dataset[Batch | UserError]):
    """Asks a split for whole batches, so that a worker does what the main process would have done."""

    def __init__(self, split: Split, epoch: int):
        self.split = split
        self.epoch = epoch

    def __getitem__(self, index: Tensor) -> Batch | UserError:  # type: ignore[override]
        # Raised here, an error would arrive with the worker's traceback for a message.
        try:
            return self.split.batch(index, self.epoch)
        except UserError as error:
            return error
        except Exception as error:
            return self._failure(index, error)

    def _failure(self, index: Tensor, error: Exception) -> UserError:
        detail = traceback.format_exc()
        worker = get_worker_info()
        where = f" (data worker {worker.id})" if worker is not None else ""
        cause = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        kind = SystemFault if isinstance(error, OSError | MemoryError) else WorkerFault
        fault = kind(f"cannot read {_named(self._first_bad(index, error))}{where}: {cause}")
        fault.add_note(detail)
        return fault

    def _first_bad(self, index: Tensor, error: Exception) -> Tensor:
        """The row by which a batch fails, or all of them if each by itself can be read."""
        for row in index.split(1):
            try:
                self.split.batch(row, self.epoch)
            except type(error):
                return row
            except Exception as other:
                log.info("row %d: %s", int(row), other)
        return index


def _note(kind: type[BaseException], error: BaseException, _: TracebackType | None) -> None:
    """For the thread that hands batches over, when the main process no longer takes them."""
    log.info("data worker: %s: %s", kind.__name__, error)


def _step_aside(_: int) -> None:
    """Takes a worker out of the group and forgets what was sent to it before; ended by name or by its parent it is."""
    os.setpgid(0, 0)
    for number in signals.STOPPING:
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.STOPPING)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    sys.excepthook = _note
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        signals.end_with_parent(parent.pid, signal.SIGKILL)


def fetch(
    split: Split, order: list[Tensor], epoch: int, *, workers: int, device: torch.device, seed: int, watch: Watch
) -> Iterator[Batch]:
    """The batches of an epoch as they are read, by other processes if there are to be any.

    Raises what the split raises, in words for its user.
    """
    with warnings.catch_warnings():
        # Told once by who shows the run, and not for every split.
        warnings.filterwarnings("ignore", message="This DataLoader will create")
        loader = DataLoader(
            _Fetch(split, epoch),
            sampler=order,  # type: ignore[arg-type]
            batch_size=None,
            num_workers=workers,
            pin_memory=device.type == "cuda",
            timeout=watch.timeout if workers else 0,
            worker_init_fn=_step_aside,
            # An own generator, or making the iterator would draw from the one that training uses.
            generator=rng.generator(seed, epoch),
        )
        with signals.held():
            batches = iter(loader)
    with watch.over(getattr(batches, "_workers", ()), order):
        while (batch := watch.next(batches)) is not None:
            if isinstance(batch, UserError):
                for detail in getattr(batch, "__notes__", ()):
                    log.info("%s", detail)
                try:
                    raise batch
                finally:
                    # The error holds this frame: what is held here lives as long, and workers are waited for in vain.
                    del batch, batches
            yield batch.to(device)
