"""A write in a thread: its errors reach the caller, and no process is forked meanwhile."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator

import pytest

from tests.helpers.states import run_in_child
from trainer.engine.background_writer import BackgroundWriter
from trainer.utils.errors import SystemFault


@pytest.fixture
def writer() -> Iterator[BackgroundWriter]:
    writer = BackgroundWriter()
    yield writer
    writer.join()


def test_the_caller_continues_while_a_thread_writes(writer: BackgroundWriter) -> None:
    released, threads = threading.Event(), []

    def write() -> None:
        released.wait(30)
        threads.append(threading.current_thread())

    assert not writer.finish()
    writer.start(write)
    assert writer.is_busy
    assert threads == []
    released.set()
    assert writer.finish()
    assert not writer.is_busy
    assert threads != [threading.main_thread()]
    assert not writer.finish()


def test_an_error_is_raised_once(writer: BackgroundWriter) -> None:
    def fail() -> None:
        raise SystemFault("the disk is full")

    writer.start(fail)
    writer.join()
    with pytest.raises(SystemFault, match="the disk is full"):
        writer.finish()
    assert not writer.finish()
    writer.start(lambda: None)
    assert writer.finish()


def test_preparation_is_waited_for(writer: BackgroundWriter) -> None:
    prepared, written, released = threading.Event(), threading.Event(), threading.Event()

    def prepare() -> None:
        time.sleep(0.05)
        prepared.set()

    def write() -> None:
        released.wait(30)
        written.set()

    writer.wait_until_prepared()
    writer.start(write, prepare)
    writer.wait_until_prepared()
    assert prepared.is_set()
    assert not written.is_set()
    released.set()
    writer.finish()


def test_a_failed_preparation_writes_nothing_and_is_not_waited_for(writer: BackgroundWriter) -> None:
    written: list[int] = []

    def fail() -> None:
        raise MemoryError

    writer.start(lambda: written.append(1), fail)
    writer.wait_until_prepared()
    with pytest.raises(MemoryError):
        writer.finish()
    assert not written


def test_a_process_is_forked_after_the_write(writer: BackgroundWriter) -> None:
    written = threading.Event()

    def write() -> None:
        time.sleep(0.1)
        written.set()

    def check() -> None:
        assert written.is_set()
        assert not writer.is_busy

    writer.start(write)
    assert run_in_child(check) == 0


def test_the_registration_does_not_keep_a_writer_alive() -> None:
    reference = weakref.ref(BackgroundWriter())
    gc.collect()
    assert reference() is None
    assert run_in_child(lambda: None) == 0
