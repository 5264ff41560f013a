"""Processes that end before a certain disk call."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch

from tests.helpers.states import run_in_child
from trainer.engine import checkpoint

CALLS = (
    (torch, "save"),
    (os, "fsync"),
    (os, "link"),
    (os, "replace"),
    (checkpoint, "verify_checkpoint"),
    (os, "open"),
    (os, "unlink"),
)


def kill_at_call(number: int, action: Callable[[], object]) -> int:
    """Run an action in a child that ends before its ``number``-th disk call; return 9, or 0 if there are fewer."""

    def run_until_call() -> None:
        calls = 0

        def count_calls(real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal calls
                calls += 1
                if calls == number:
                    os._exit(9)
                return real(*args, **options)

            return call

        for module, name in CALLS:
            setattr(module, name, count_calls(getattr(module, name)))
        action()

    return run_in_child(run_until_call)
