"""Pause of Python's garbage collector while modules are imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_gc() -> Iterator[None]:
    """Run a block of imports without garbage collection, which takes a tenth of the time of importing torch.

    Imports create a million objects and hardly any garbage. What exists at the end of the block is exempt from later
    collections, which then visit what training creates. A collector that is already off stays off.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
