"""Progress of runs and sweeps: positions, throughput, time left; a sweep parses the lines of its jobs."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from trainer.utils.text import escape_control_chars, format_count
from trainer.viz.console import PlainConsole, console, print_line
from trainer.viz.score_tables import format_metric_name, format_number

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer

MAX_EPOCH_LINES = 100
"""Number of epochs up to which each prints a line; of more, evenly spaced ones do."""
MAX_QUIET_SECONDS = 10.0
"""Seconds without a line after which every epoch prints one."""
FIRST_UPDATE_SECONDS, TERMINAL_UPDATE_SECONDS, LINE_INTERVAL_SECONDS = 2.0, 0.5, 30.0
"""Seconds until a sweep tells of jobs that run; between two times on a terminal, and elsewhere."""
POSITION_PATTERN = re.compile(r"epoch (N)/(N)  step (N)/(N)".replace("N", r"\d[\d,]{0,24}"), re.ASCII)
"""Matches positions with numbers that a run can reach: a job may print anything."""


@dataclass(frozen=True)
class Position:
    """Position of a run in training."""

    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def completed_fraction(self) -> float:
        return self.step / max(1, self.steps)

    def format_position(self) -> str:
        return f"epoch {self.epoch:,}/{self.epochs:,}  step {self.step:,}/{self.steps:,}"


def parse_position(text: str) -> Position | None:
    """Return the last position in a text."""
    matches = POSITION_PATTERN.findall(text)
    return Position(*(int(part.replace(",", "")) for part in matches[-1])) if matches else None


class ThroughputMeter:
    """Measures throughput and estimates the time left.

    Args:
        rows: Rows of an epoch.
        unit: What a row is called, such as ``rows`` or ``nodes``.
    """

    def __init__(self, trainer: Trainer, rows: int, unit: str):
        self.steps_per_epoch = -(-len(trainer.train_loader) // trainer.settings.accumulate)
        self.epochs = -(-trainer.total_steps // self.steps_per_epoch)
        self.rows_per_epoch, self.unit = rows, unit
        self._first_step = self._last_step = self._last_line_step = trainer.step
        self._started_at = self._last_update_at = self._last_line_at = time.monotonic()
        self._training_seconds = 0.0

    def record_step(self, trainer: Trainer) -> None:
        """Record a batch; only training steps count."""
        now = time.monotonic()
        if trainer.step != self._last_step:
            self._training_seconds += now - self._last_update_at
            self._last_step = trainer.step
        self._last_update_at = now

    def is_line_due(self, trainer: Trainer, epoch: int) -> bool:
        """Return whether the epoch that has ended prints a line."""
        stride = -(-self.epochs // MAX_EPOCH_LINES)
        is_last = trainer.step >= trainer.total_steps
        return epoch % stride == 0 or is_last or time.monotonic() - self._last_line_at > MAX_QUIET_SECONDS

    def seconds_elapsed(self) -> float:
        return time.monotonic() - self._started_at

    def seconds_since_line(self) -> float:
        return time.monotonic() - self._last_line_at

    def get_position(self, trainer: Trainer, *, epoch: int) -> Position:
        return Position(epoch, max(epoch, self.epochs), trainer.step, trainer.total_steps)

    def format_line(self, trainer: Trainer, epoch: int, loss: float, score: float | None) -> str:
        """``epoch 3/10  step 120/400  loss 0.5123  val accuracy 0.8750  12,300 rows/s  0:12 left``"""
        parts = [self.get_position(trainer, epoch=epoch).format_position(), f"loss {format_number(loss)}"]
        if score is not None:
            parts.append(f"val {format_metric_name(trainer.monitor)} {format_number(score)}")
        steps = trainer.step - self._last_line_step
        if self._training_seconds > 0 and steps:
            rate = steps * self.rows_per_epoch / self.steps_per_epoch / self._training_seconds
            parts.append(f"{rate:,.0f} {self.unit}/s")
        parts.append(f"{format_duration(self.seconds_left(trainer))} left")
        self._last_line_at, self._last_line_step, self._training_seconds = time.monotonic(), trainer.step, 0.0
        return "  ".join(parts)

    def seconds_left(self, trainer: Trainer) -> float:
        """Estimate the remaining seconds from those of the steps so far, validation included."""
        done = trainer.step - self._first_step
        spent = self.seconds_elapsed()
        return (trainer.total_steps - trainer.step) * spent / done if done else 0.0


class SweepProgress:
    """Progress of a sweep: a line for each finished job, and a status of the running ones.

    On a terminal the status is overwritten in place; elsewhere it is printed at intervals.
    """

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.started_at = time.monotonic()
        self._next_update_at = self.started_at + FIRST_UPDATE_SECONDS
        # With a console of its own: jobs are forks, and what they print must know nothing of these lines.
        self._live = (
            Live(
                console=PlainConsole(), auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            if console.is_terminal
            else None
        )

    def show_running_jobs(self, running: Sequence[tuple[str, Position | None]]) -> None:
        if time.monotonic() < self._next_update_at:
            return
        text = self._format_status(running)
        if self._live is None:
            self._next_update_at = time.monotonic() + LINE_INTERVAL_SECONDS
            print_line(text)
            return
        self._next_update_at = time.monotonic() + TERMINAL_UPDATE_SECONDS
        self._live.start()
        self._live.update(Text(escape_control_chars(text)), refresh=True)

    def finish_job(self, text: str, running: Sequence[tuple[str, Position | None]]) -> None:
        """Print the line of a finished job, with the time left of the sweep."""
        if self._live is not None:
            self._live.stop()
        self.done += 1
        left = self._format_time_left(running)
        print_line(f"[{self.done}/{self.total}] {text}{f'  {left}' if left and self.done < self.total else ''}")

    def _format_status(self, running: Sequence[tuple[str, Position | None]]) -> str:
        parts = [
            f"{name}: {'starting' if position is None else position.format_position()}" for name, position in running
        ]
        return "\n".join(
            filter(
                None,
                [
                    *parts,
                    f"{self.done} of {format_count(self.total, 'job')} done  "
                    f"{self._format_time_left(running)}".rstrip(),
                ],
            )
        )

    def _format_time_left(self, running: Sequence[tuple[str, Position | None]]) -> str:
        """Estimate the time left from that of the jobs so far; a half-finished job counts half."""
        done = self.done + sum(position.completed_fraction for _, position in running if position is not None)
        if not done:
            return ""
        spent = time.monotonic() - self.started_at
        return f"about {format_duration(spent * (self.total - done) / done)} left"


def format_duration(seconds: float) -> str:
    """Format seconds as ``0:07``, ``12:30`` or ``3:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
