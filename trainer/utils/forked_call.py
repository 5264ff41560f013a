"""A call in a forked child process, which frees its memory when it ends."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from typing import TypeVar

from trainer.utils.errors import SystemFault

T = TypeVar("T")
A = TypeVar("A")


def call_in_fork(function: Callable[[A], T], argument: A, description: str) -> T:
    """Return the result of a function that a child process calls.

    A fork does not import the main program again, which may be a script of the user.

    Args:
        function: The function.
        argument: Its argument.
        description: What the child does, for the message if it is killed.

    Raises:
        SystemFault: The child was killed, most likely because memory ran out.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("fork")) as pool:
        try:
            return pool.submit(function, argument).result()
        except BrokenProcessPool as error:
            raise SystemFault(f"{description}: the process for it was killed; memory may have run out") from error
