"""Draws what a task has to show within a time limit: a large model could take longer than it was trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from torch import nn

from trainer.core.artifacts import Item, Later
from trainer.viz import artifact_writer

MOMENT = 2.0
"""Seconds after which drawing announces itself."""


class OutOfTime(Exception):
    """The time for drawing is over."""


class Clock:
    """Looked at whenever a part of the model is called. ``look`` may raise for a reason of its own, as a signal."""

    def __init__(self, seconds: float, announce: Callable[[], None], look: Callable[[], None]):
        self.seconds = seconds
        self.announce: Callable[[], None] | None = announce
        self.look = look
        self.started_at = time.monotonic()

    def check(self, *_: object) -> None:
        """Raises OutOfTime."""
        self.look()
        spent = time.monotonic() - self.started_at
        if self.announce is not None and spent > MOMENT:
            self.announce()
            self.announce = None
        if spent > self.seconds:
            raise OutOfTime


def draw_in_time(
    items: Iterable[Item | Later], model: nn.Module, folder: Path, clock: Clock
) -> tuple[list[Path], list[str]]:
    """Draws items into files; gives their paths, and the names of those for which there was no time."""
    drawn: list[Path] = []
    missed: list[str] = []
    with ExitStack() as stack:
        # Of every part: a decoder may be called without the whole.
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(clock.check).remove)
        try:
            for item in items:
                if missed:  # what is left of the batches would be taken for all of them
                    missed.append(item.name)
                    continue
                try:
                    made = item.make() if isinstance(item, Later) else item
                    drawn += artifact_writer.draw([] if made is None else [made], folder)
                except OutOfTime:
                    missed.append(item.name)
        except OutOfTime:
            missed.append("others")
    return drawn, missed
