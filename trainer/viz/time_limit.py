"""Time limit for drawing artifacts: with a large model it could take longer than training."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from torch import nn

from trainer.core.artifacts import Artifact, LazyArtifact
from trainer.viz import artifact_writer

ANNOUNCE_AFTER_SECONDS = 2.0
"""Seconds after which drawing is announced."""


class TimeLimitExceeded(Exception):
    """Raised when the time limit for drawing is exceeded."""


class TimeLimit:
    """Time limit that is checked whenever a module of the model is called.

    Args:
        seconds: Time limit.
        announce: Called once if drawing takes longer than ``ANNOUNCE_AFTER_SECONDS``.
        check_signals: Called at each check; may raise an exception to stop.
    """

    def __init__(self, seconds: float, announce: Callable[[], None], check_signals: Callable[[], None]):
        self.seconds = seconds
        self.announce: Callable[[], None] | None = announce
        self.check_signals = check_signals
        self.started_at = time.monotonic()

    def check_time(self, *_: object) -> None:
        """Check signals and time; used as a forward pre-hook.

        Raises:
            TimeLimitExceeded: The time limit is exceeded.
        """
        self.check_signals()
        elapsed = time.monotonic() - self.started_at
        if self.announce is not None and elapsed > ANNOUNCE_AFTER_SECONDS:
            self.announce()
            self.announce = None
        if elapsed > self.seconds:
            raise TimeLimitExceeded


def draw_with_time_limit(
    items: Iterable[Artifact | LazyArtifact], model: nn.Module, directory: Path, clock: TimeLimit
) -> tuple[list[Path], list[str]]:
    """Draw artifacts within a time limit.

    Args:
        items: Artifacts, possibly lazy.
        model: Model that lazy artifacts call.
        directory: Directory of the files.
        clock: Time limit.

    Returns:
        ``(paths of the files, names of the artifacts that were skipped)``.
    """
    paths: list[Path] = []
    skipped_names: list[str] = []
    with ExitStack() as stack:
        # On every module, because a decoder may be called directly.
        for module in model.modules():
            stack.callback(module.register_forward_pre_hook(clock.check_time).remove)
        try:
            for item in items:
                if skipped_names:  # a later artifact would be drawn from an incomplete set of batches
                    skipped_names.append(item.name)
                    continue
                try:
                    artifact = item.make_artifact() if isinstance(item, LazyArtifact) else item
                    paths += artifact_writer.write_artifacts([] if artifact is None else [artifact], directory)
                except TimeLimitExceeded:
                    skipped_names.append(item.name)
        except TimeLimitExceeded:
            skipped_names.append("others")
    return paths, skipped_names
