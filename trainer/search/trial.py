"""Trials of a search: a point, its run, and what its run directory says."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from trainer.config.run_config import Config
from trainer.metrics.registry import find_metric
from trainer.runs import metrics_file, recovery, run_dir
from trainer.search.rungs import RunLength
from trainer.utils.errors import UserError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunRecord:
    """What a run directory says about its run.

    Attributes:
        results: Contents of ``results.json``.
        history: Rows of its validations.
    """

    results: Mapping[str, Any]
    history: Sequence[Mapping[str, float]]

    @property
    def status(self) -> str:
        """Status of the run; empty if it has not started."""
        return str(self.results.get("status", ""))

    @property
    def monitor(self) -> str:
        """Name of the monitored metric; empty if it is not known yet."""
        return str(self.results.get("monitor", ""))

    @property
    def higher_is_better(self) -> bool | None:
        """Direction of the monitored metric; None if it is not known yet."""
        metric = find_metric(self.monitor, self.results.get("higher_is_better", {})) if self.monitor else None
        return None if metric is None else metric.higher_is_better

    @property
    def steps(self) -> int:
        """Number of steps up to its last validation."""
        return int(self.history[-1]["step"]) if self.history else 0

    @property
    def has_lost_history(self) -> bool:
        """Whether it is finished, and nothing says which scores it had before its end."""
        return self.status == "finished" and not self.history

    def has_reached(self, step: int) -> bool:
        """Return whether it has been validated at a step or later, or is finished."""
        return self.status == "finished" or self.steps >= step

    def find_score(self, step: int) -> float | None:
        """Return the best validation score up to a step; None if there is none.

        Args:
            step: Number of steps.
        """
        values = [row.get(f"val_{self.monitor}", math.nan) for row in self.history if row["step"] <= step]
        finite = [value for value in values if not math.isnan(value)]
        if not finite or self.higher_is_better is None:
            return None
        return max(finite) if self.higher_is_better else min(finite)

    def find_best_score(self) -> float | None:
        """Return the validation score of its best weights so far; None if there is none."""
        return self.find_final_score() if self.status == "finished" else self.find_score(self.steps)

    def find_final_score(self) -> float | None:
        """Return the validation score of its best weights; None if it is not finished, or all were NaN."""
        score = self.results.get("val", {}).get(self.monitor) if self.status == "finished" else None
        return None if score is None or math.isnan(score) else float(score)


def read_record(path: Path) -> RunRecord:
    """Read what a run directory says; nothing if there is no run yet, or its results are damaged.

    The history is that of the checkpoint, which is written after every pause; the file of a logger, which the user may
    have turned off, only replaces a checkpoint that is lost.

    Args:
        path: The run directory.
    """
    # Here, because invalid spaces are reported without torch.
    from trainer.engine import checkpoint
    from trainer.runs import results as result

    results = recovery.read_results(path)
    if problems := result.find_wrong_types(results):
        log.warning("%s is not used: %s", path / run_dir.RESULTS_FILE, problems[0])
        results = {}
    try:
        state = checkpoint.load_newest(path, mmap=True) if checkpoint.has_checkpoint(path) else {}
    except UserError:  # damaged; the run itself reports it
        state = {}
    rows = state.get("history", [])
    if not rows and results.get("status") == "finished":
        rows = metrics_file.read_history(path / run_dir.METRICS_FILE)
    return RunRecord(results, [_select_numbers(row) for row in rows if _is_validation(row)])


def _is_validation(row: object) -> bool:
    return isinstance(row, dict) and isinstance(row.get("step"), int | float)


def _select_numbers(row: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in row.items() if isinstance(value, int | float)}


@dataclass
class Trial:
    """Point of a search with its run.

    Attributes:
        number: Its number in the order of drawing, from 0.
        point: Value of every key of the space.
        values: Value of each key that its options have.
        config: Its configuration; None if its options are incompatible.
        path: Its run directory.
        length: Length of its run.
        pauses: Steps at which it pauses.
        reason: Why it was refused or has failed.
        scores: Validation score at each rung so far; None if it has failed there.
        is_reused: Whether its run was finished before, by another command.
    """

    number: int
    point: Mapping[str, str]
    values: Mapping[str, str]
    config: Config | None
    path: Path
    length: RunLength
    pauses: tuple[int, ...] = ()
    reason: str = ""
    scores: list[float | None] = field(default_factory=list)
    is_reused: bool = False

    @cached_property
    def record(self) -> RunRecord:
        """What its run directory says; read once, until ``forget_record``."""
        return read_record(self.path)

    def forget_record(self) -> None:
        """Read the run directory again when it is needed, because its run has gone on."""
        self.__dict__.pop("record", None)

    @property
    def num_rungs(self) -> int:
        """Number of rungs, the last of which is its end."""
        return len(self.pauses) + 1

    def get_pause(self, rung: int) -> int | None:
        """Return the step at which it pauses at a rung; None at the last one."""
        return self.pauses[rung] if rung < len(self.pauses) else None

    def get_end(self, rung: int) -> int:
        """Return the step at which a rung ends."""
        pause = self.get_pause(rung)
        return self.length.steps if pause is None else pause

    @property
    def label(self) -> str:
        """Its values as on a command line."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())
