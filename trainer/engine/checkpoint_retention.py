"""Retention of checkpoints other than the last and the best one: which ones, their names, and their removal."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainer.core.metric import Metric
from trainer.engine.best_checkpoint import TIEBREAK_METRIC
from trainer.metrics.registry import is_better
from trainer.utils import atomic_write

log = logging.getLogger(__name__)

STATE_PREFIX, WEIGHTS_PREFIX = "step_", "best_"
"""Prefixes of the names of retained states and of retained best weights, before the number of the step."""
_NAME = re.compile(r"(step_|best_)(0|[1-9][0-9]*)\.pt")


@dataclass(frozen=True)
class Retention:
    """Which checkpoints a run retains in addition to ``last.pt``, ``previous.pt`` and ``best.pt``.

    Args:
        last: Number of last periodic states, in ``step_STEP.pt``; 1 for ``last.pt`` alone.
        every: Steps between states that are never removed; None for none.
        best: Number of best weights by the monitored metric, in ``best_STEP.pt``; 1 for ``best.pt`` alone.
    """

    last: int = 1
    every: int | None = None
    best: int = 1

    def is_permanent(self, step: int) -> bool:
        """Return whether the state of a step is never removed."""
        return self.every is not None and step % self.every == 0

    def retains_state(self, step: int) -> bool:
        """Return whether the periodic state of a step is retained when it is saved."""
        return self.last > 1 or self.is_permanent(step)

    def select_outdated(self, steps: Sequence[int], step: int) -> list[int]:
        """Select the states to remove after the state of a step was saved.

        Later states are those of a run that was resumed from an earlier one, which will replace them.

        Args:
            steps: Steps of the retained states.
            step: Step of the new state.
        """
        older = sorted(each for each in steps if each <= step)
        return [each for each in older[: -self.last] if not self.is_permanent(each)]


def get_path(run_dir: Path, prefix: str, step: int) -> Path:
    """Return the file of a retained checkpoint.

    Args:
        run_dir: The run directory.
        prefix: ``STATE_PREFIX`` or ``WEIGHTS_PREFIX``.
        step: Step of the checkpoint.
    """
    return run_dir / f"{prefix}{step}.pt"


def is_retained(name: str) -> bool:
    """Return whether a file name is that of a retained checkpoint."""
    return _NAME.fullmatch(name) is not None


def is_retained_state(name: str) -> bool:
    """Return whether a file name is that of a retained state."""
    match = _NAME.fullmatch(name)
    return match is not None and match.group(1) == STATE_PREFIX


def find_steps(run_dir: Path, prefix: str) -> list[int]:
    """Return the steps of the retained checkpoints of a run, in numeric order.

    Args:
        run_dir: The run directory.
        prefix: ``STATE_PREFIX`` or ``WEIGHTS_PREFIX``.
    """
    matches = (_NAME.fullmatch(name) for name in os.listdir(run_dir))
    return sorted(int(match.group(2)) for match in matches if match is not None and match.group(1) == prefix)


def link_file(source: Path, target: Path) -> None:
    """Add a second name to a file, atomically; on a file system without hard links it is copied.

    Args:
        source: The file, which exists throughout.
        target: The second name, which may exist.

    Raises:
        OSError: The file cannot be written.
    """
    if target.exists() and target.samefile(source):
        return  # left by a crash; renaming between two names of one file does nothing
    link = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    link.unlink(missing_ok=True)
    try:
        try:
            os.link(source, link)
        except OSError:
            shutil.copyfile(source, link)
            atomic_write.sync_to_disk(link)
        os.replace(link, target)
    except OSError:
        with suppress(OSError):
            link.unlink(missing_ok=True)
        raise


def remove_steps(run_dir: Path, prefix: str, steps: Iterable[int]) -> None:
    """Remove retained checkpoints; one that cannot be removed is reported and stays.

    Args:
        run_dir: The run directory.
        prefix: ``STATE_PREFIX`` or ``WEIGHTS_PREFIX``.
        steps: Steps of the checkpoints.
    """
    for path in (get_path(run_dir, prefix, step) for step in steps):
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed and stays: %s", path, error.strerror or error)


def rank_validations(history: Sequence[Mapping[str, float]], monitor: Metric) -> list[int]:
    """Return the steps of the validations from the best to the worst, as ``BestCheckpoint`` compares them.

    Validations whose score is not finite are left out.

    Args:
        history: Rows of the history.
        monitor: Monitored metric.
    """
    sign = -1.0 if monitor.higher_is_better else 1.0

    def key(row: Mapping[str, float]) -> tuple[float, float]:
        tiebreak = row.get(f"val_{TIEBREAK_METRIC.name}", 0.0)
        return sign * row[f"val_{monitor.name}"], tiebreak if is_better(tiebreak, None, TIEBREAK_METRIC) else float(
            "inf"
        )

    rows = [row for row in history if is_better(row[f"val_{monitor.name}"], None, monitor)]
    return [int(row["step"]) for row in sorted(rows, key=key)]
