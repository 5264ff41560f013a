"""Runs that wait after a step until a test has signaled or killed them: on no machine do they end before."""

from __future__ import annotations

from pathlib import Path

from trainer.utils.process_identity import is_running

PLUGIN = """
import os
import signal
import time
from pathlib import Path
from trainer import Callback

class Hold(Callback):
    def __init__(self, step: int, seed: int):
        self.step, self.request, self.is_signaled = step, Path(f"hold-{seed}"), False

    def on_step_end(self, trainer, metrics):
        if trainer.step == self.step and self.request.exists():
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
                self.watch(number)
            self.request.with_suffix(".pid").write_text(str(os.getpid()))
            self.request.with_suffix(".held").touch()
            while self.request.exists() and not self.is_signaled:
                time.sleep(0.01)

    def watch(self, number):
        handle = signal.getsignal(number)

        def handle_and_note(*arguments):
            handle(*arguments)
            self.is_signaled = True

        signal.signal(number, handle_and_note)
"""
STEP = 10
"""Step after which a run waits."""
HOLD = (
    *("plugins=[own_hold]", "+callbacks.hold._target_=own_hold.Hold"),
    *(f"+callbacks.hold.step={STEP}", "+callbacks.hold.seed=${seed}"),
)
"""Overrides of runs that may be held."""


class HeldRun:
    """A run that waits after a step until it has handled a signal, or ``release``.

    Args:
        folder: Working folder of the command, with ``HOLD`` among its overrides.
        seed: Seed of the run.
        is_requested: Whether it waits; a run that is compared with it does not.
    """

    def __init__(self, folder: Path, seed: int = 0, *, is_requested: bool = True):
        self.request = folder / f"hold-{seed}"
        (folder / "own_hold.py").write_text(PLUGIN)
        if is_requested:
            self.request.touch()

    def is_held(self) -> bool:
        """Return whether it waits."""
        return self.request.with_suffix(".held").exists()

    def has_died(self) -> bool:
        """Return whether its process has ended while it waited."""
        return self.is_held() and not is_running(int(self.request.with_suffix(".pid").read_text()), None)

    def release(self) -> None:
        """Let it continue."""
        self.request.unlink()
