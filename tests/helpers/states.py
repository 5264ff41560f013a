"""Checkpoints of training runs, and child processes that may die while writing them."""

from __future__ import annotations

import os
from collections.abc import Callable
from multiprocessing import resource_sharer
from pathlib import Path
from typing import Any

import torch

from trainer.engine.checkpoint import load_newest


def make_state(step: int, size: int = 300) -> dict[str, Any]:
    torch.manual_seed(step)
    return {
        "task": {"w": torch.randn(size), "count": torch.tensor(step)},
        "position": {"epoch": 1, "batch": 2, "step": step},
        "random": {"python": (3, tuple(range(20)), None)},
        "history": [{"mse": 0.5, "name": "x"}],
    }


def equal(a: Any, b: Any) -> bool:
    """Compare nested states of tensors and plain values."""
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(equal, a, b))
    return a == b


def load_step(run_dir: Path) -> int:
    return load_newest(run_dir)["position"]["step"]


def fork() -> int:
    """Fork without the server thread of multiprocessing, which passes tensors of workers: a child would lack it."""
    resource_sharer.stop()
    return os.fork()


def run_in_child(action: Callable[[], object]) -> int:
    """Run an action in a forked process; return its exit code, 1 if it raised."""
    child = fork()
    if child == 0:
        code = 1
        try:
            action()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
