"""Draws what a task has to show within a time limit: a large model could take longer than it was trained."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from torch import nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.viz import artifact_writer

ANNOUNCE_AFTER_SECONDS = 2.0
"""Seconds after which drawing announces itself."""


class TimeLimitExceeded(Exception):
    """The time for drawing is over."""


class TimeLimit:
    """Looked at whenever a part of the model is called. ``look`` may raise for a reason of its own, as a signal."""

    def __init__(self, seconds: float, announce: Callable[[], None], look: Callable[[], None]):
        self.seconds = seconds
        self.announce: Callable[[], None] | None = announce
        self.check_signals = look
        self.started_at = time.monotonic()

    def check_time(self, *_: object) -> None:
        """Raises OutOfTime."""
        self.check_signals()
        spent = time.monotonic() - self.started_at
        if self.announce is not None and spent > ANNOUNCE_AFTER_SECONDS:
            self.announce()
            self.announce = None
        if spent > self.seconds:
            raise TimeLimitExceeded


def draw_with_time_limit(
    items: Iterable[Artifact | LazyArtifact], model: nn.Module, folder: Path, clock: TimeLimit
) -> tuple[list[Path], list[str]]:
    """Draws items into files; gives their paths, and the names of those for which there was no time."""
    drawn: list[Path] = []
    missed: list[str] = []
    with ExitStack() as stack:
        # Of every part: a decoder may be called without the whole.
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(clock.check_time).remove)
        try:
            for item in items:
                if missed:  # what is left of the batches would be taken for all of them
                    missed.append(item.name)
                    continue
                try:
                    made = item.make_artifact() if isinstance(item, LazyArtifact) else item
                    drawn += artifact_writer.write_artifacts([] if made is None else [made], folder)
                except TimeLimitExceeded:
                    missed.append(item.name)
        except TimeLimitExceeded:
            missed.append("others")
    return drawn, missed
