"""Pause of Python's garbage collector while modules are imported."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def pause_gc(*, freeze: bool = False) -> Iterator[None]:
    """Disable garbage collection inside a block of imports; it takes a tenth of the time of importing torch.

    Imports create a million objects and hardly any garbage. Objects that exist at the end of the block are exempt from
    later collections, which then visit only objects that training creates. If the collector is already disabled,
    nothing happens.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if freeze and not gc.get_freeze_count():
            gc.freeze()
        gc.enable()
