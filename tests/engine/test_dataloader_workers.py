"""Workers that fail, die or hang are reported, and end with the run."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
import torch
from torch import Tensor

from trainer.core.batch import Batch
from trainer.core.split import TensorSplit
from trainer.engine import dataloader_workers
from trainer.engine.config_errors import explain_errors
from trainer.engine.dataloader import Loader
from trainer.engine.dataloader_workers import WorkerError
from trainer.utils.errors import ConfigError, DataError, SystemFault, UserError


class FaultySplit(TensorSplit):
    """A split that is not in memory and runs an action when its sixth row is read."""

    def __init__(self, action: Callable[[], object]) -> None:
        super().__init__({"x": torch.arange(20.0)[:, None]}, torch.arange(20))
        self.action = action

    def batch(self, index: Tensor, epoch: int) -> Batch:
        if 5 in index:
            self.action()
        return super().batch(index, epoch)

    def count_bytes(self) -> None:  # type: ignore[override]
        return None


def fail() -> None:
    raise KeyError("a column")


def raise_disk_error() -> None:
    raise OSError(5, "Input/output error")


def catch_error(action: Callable[[], object], *, count: int = 2) -> UserError:
    """Return the error of an epoch in which the sixth row runs an action, which is not that of the time limit."""
    split = FaultySplit(action)
    loader = Loader(split, "train", batch_size=4, device=torch.device("cpu"), workers=count, timeout=60.0)
    with pytest.raises(UserError) as caught:
        list(loader.iter_epoch(0))
    error = caught.value
    assert "worker_timeout" not in str(error)
    assert len(str(error)) < 250
    return error


@pytest.mark.parametrize(("count", "where"), [(0, ""), (2, " (data worker 1)")])
def test_an_unreadable_row_is_reported(count: int, where: str) -> None:
    error = catch_error(fail, count=count)
    assert str(error) == f"cannot read row 5{where}: KeyError: 'a column'"
    assert (type(error), error.exit_code) == (WorkerError, 1)
    assert "in fail" in "".join(error.__notes__)


def test_an_unreadable_disk_is_a_system_fault() -> None:
    error = catch_error(raise_disk_error)
    assert str(error) == "cannot read row 5 (data worker 1): OSError: [Errno 5] Input/output error"
    assert (type(error), error.exit_code) == (SystemFault, 4)


def reject_file() -> None:
    raise DataError("path: no such file", "restore it")


@pytest.mark.parametrize("count", [0, 2])
def test_data_error_in_a_batch_is_reported_with_its_key(count: int) -> None:
    loader = Loader(
        FaultySplit(reject_file), "train", batch_size=4, device=torch.device("cpu"), workers=count, timeout=30.0
    )
    config = {"model": {"path": 1}, "data": {"path": "x"}}
    with pytest.raises(ConfigError, match=r"^data\.path: no such file\nrestore it$"), explain_errors(config, "model"):
        list(loader.iter_epoch(0))


def test_failure_of_a_whole_batch_reports_all_rows() -> None:
    class FailingBatches(FaultySplit):
        def batch(self, index: Tensor, epoch: int) -> Batch:
            return super().batch(index, epoch) if len(index) > 1 else TensorSplit.batch(self, index, epoch)

    loader = Loader(FailingBatches(fail), "train", batch_size=4, device=torch.device("cpu"))
    with pytest.raises(WorkerError, match="cannot read rows 4, 5, 6, 7: KeyError"):
        list(loader.iter_epoch(0))


def kill_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def exit_process() -> None:
    os._exit(9)


@pytest.mark.parametrize(
    ("action", "cause"),
    [
        (kill_process, r"was killed by signal 9 \(SIGKILL\): often out of memory"),
        (exit_process, "ended with exit code 9"),
    ],
    ids=["killed", "left"],
)
def test_a_dead_worker_is_reported_with_its_rows_and_cause(action: Callable[[], object], cause: str) -> None:
    error = catch_error(action)
    assert isinstance(error, WorkerError)
    assert error.exit_code == 1
    assert re.fullmatch(rf"data worker 1 \(process \d+\) {cause}; its next batch was rows 4, 5, 6, 7", str(error)), (
        error
    )


@pytest.mark.slow
def test_a_hanging_worker_is_reported_with_its_rows_and_killed() -> None:
    split = FaultySplit(lambda: time.sleep(1000))
    loader = Loader(split, "train", batch_size=4, device=torch.device("cpu"), workers=2, timeout=5.0)
    with pytest.raises(WorkerError) as caught:
        list(loader.iter_epoch(0))
    message = "data worker 1 gave no batch for 5 s (worker_timeout); its next batch was rows 4, 5, 6, 7"
    assert str(caught.value) == message
    workers = loader.worker_monitor.workers
    for worker in workers:  # torch would wait 5 s for each when the iterator is deleted
        worker.join()
    assert workers[1].exitcode == -signal.SIGKILL


@pytest.mark.parametrize("in_thread", [False, True])
def test_closing_an_unfinished_epoch_ends_its_workers(in_thread: bool) -> None:
    """The garbage collector may close a generator in any thread."""
    loader = Loader(FaultySplit(fail), "train", batch_size=4, device=torch.device("cpu"), workers=2, timeout=30.0)
    batches = loader.iter_epoch(0)
    next(batches)
    if in_thread:
        with ThreadPoolExecutor() as threads:
            threads.submit(batches.close).result()
    else:
        batches.close()
    assert None not in [worker.exitcode for worker in loader.worker_monitor.workers]


def test_workers_that_are_still_reading_are_killed() -> None:
    is_reading = multiprocessing.Event()

    def read_slowly() -> None:
        is_reading.set()
        time.sleep(1000)

    loader = Loader(FaultySplit(read_slowly), "val", batch_size=4, device=torch.device("cpu"), workers=2)
    batches = loader.iter_epoch(0)
    next(batches)
    assert is_reading.wait(30)
    with ThreadPoolExecutor() as threads:
        threads.submit(batches.close).result()
    assert -signal.SIGKILL in [worker.exitcode for worker in loader.worker_monitor.workers]


@pytest.mark.slow
def test_epochs_of_one_loader_may_be_nested() -> None:
    split = FaultySplit(lambda: None)
    loader = Loader(split, "train", batch_size=4, device=torch.device("cpu"), workers=2, timeout=30.0)
    rows = 0
    for batch in loader.iter_epoch(0):
        with closing(loader.iter_epoch(1)) as inner:
            next(inner)
        rows += len(batch)
    assert rows == len(split)


@pytest.mark.slow
def test_a_dead_worker_is_reported_while_waiting_for_a_batch() -> None:
    """Not between two batches, where a checkpoint may be written."""
    loader = Loader(FaultySplit(print), "train", batch_size=4, device=torch.device("cpu"), workers=2, timeout=30.0)
    batches = loader.iter_epoch(0)
    next(batches)
    pid = loader.worker_monitor.workers[1].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # until it has ended, without its exit code
    with pytest.raises(WorkerError, match=r"data worker 1 .*\(SIGKILL\)"):
        list(batches)


def test_other_errors_are_not_wrapped() -> None:
    def fail() -> Iterator[Batch]:
        yield batch
        raise RuntimeError("something else")

    batch = TensorSplit({"x": torch.zeros(1)}, None).batch(torch.tensor([0]), 0)
    monitor, batches = dataloader_workers.WorkerMonitor(1.0), fail()
    assert monitor.next_batch(batches) is batch
    with pytest.raises(RuntimeError, match="something else"):
        monitor.next_batch(batches)
