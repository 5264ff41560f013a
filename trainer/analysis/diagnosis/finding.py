"""Findings about a run, and the evidence that rules look at."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from trainer.analysis.run_record import RunRecord
from trainer.engine import update_ratio

if TYPE_CHECKING:
    from trainer.analysis.diagnosis.live_run import LiveRun

MIN_GAIN = 0.02
"""Smallest share of the baseline's score by which a model that has learned something improves it. The smallest gain of
a run of the zoo whose loss has fallen is 0.05.
"""


@dataclass(frozen=True)
class Finding:
    """Something unusual about a run.

    Args:
        rule: Name of the rule.
        sentence: What is unusual.
        evidence: Numbers by name.
        overrides: Overrides of the command line to try.
        is_fault: Whether the run may be worse for it; otherwise it is information.
    """

    rule: str
    sentence: str
    evidence: Mapping[str, float | str]
    overrides: Sequence[str] = ()
    is_fault: bool = True


@dataclass(frozen=True)
class Evidence:
    """A run as recorded, and its objects.

    Args:
        record: What the run directory has recorded.
        live: Task, data and weights of the run; None if they cannot be loaded.
        problem: Why they cannot be loaded; empty if they can.
        siblings: Records of other runs, by which seeds are compared.
    """

    record: RunRecord
    live: LiveRun | None = None
    problem: str = ""
    siblings: Sequence[RunRecord] = field(default=())

    @property
    def monitor(self) -> str:
        """Name of the monitored metric."""
        return self.record.monitor

    @property
    def sign(self) -> int:
        """1 if higher values of the monitored metric are better, else -1."""
        return 1 if self.record.results.get("higher_is_better", {}).get(self.monitor) else -1

    @cached_property
    def val_scores(self) -> list[float]:
        """Monitored validation score of each validation."""
        return self.get_column(f"val_{self.monitor}")

    def get_column(self, name: str) -> list[float]:
        """Return the values of a column of the metrics; empty if a row lacks it.

        Args:
            name: Name of the column.
        """
        values = [row.get(name, math.nan) for row in self.record.history]
        return [] if any(map(math.isnan, values)) else values

    @cached_property
    def recorded_update_ratios(self) -> dict[str, float]:
        """Largest update ratio that the validations of a run have recorded, by parameter group."""
        columns = [name for name in next(iter(self.record.history), {}) if name.startswith(update_ratio.PREFIX)]
        values = {name: [row.get(name, math.nan) for row in self.record.history] for name in columns}
        finite = {name: [*filter(math.isfinite, column)] for name, column in values.items()}
        return {name.removeprefix(update_ratio.PREFIX): max(column) for name, column in finite.items() if column}

    @property
    def has_several_losses(self) -> bool:
        """Whether several parameter groups minimize different losses, which may rise while samples improve."""
        return sum(name.startswith("lr_") for name in next(iter(self.record.history), {})) > 1

    def get_override(self, key: str, default: float) -> float:
        """Return a number of the configuration.

        Args:
            key: Dotted key.
            default: Value for a key that is missing or not a number.
        """
        value = self.record.config.get(key)
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default

    @cached_property
    def gain(self) -> float | None:
        """Share of the baseline's score that the model improves it by, on the test rows; None if it is unknown.

        A run that was not tested is judged by its validation rows.
        """
        results = self.record.results
        baseline = results.get("baseline", {}).get(self.monitor, math.nan)
        score = next(
            (results[split][self.monitor] for split in ("test", "val") if self.monitor in results.get(split, {})),
            math.nan,
        )
        # Of a score with a baseline of 0, such as R2, the scale is 1.
        scale = abs(baseline) if abs(baseline) > 1e-3 else 1.0
        gain = self.sign * (score - baseline) / scale
        return gain if math.isfinite(gain) else None


def format_number(value: float) -> str:
    """Return a number with two significant digits for an override, such as ``0.003``."""
    return f"{value:.1e}".replace(".0e", "e") if value < 1e-3 else f"{value:.2g}"


def get_median(values: Sequence[float]) -> float:
    """Return the median of the finite values; NaN if there are none."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan
