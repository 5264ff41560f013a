"""Progress of runs and sweeps: position, throughput, time left; a sweep parses the lines of its jobs."""

from __future__ import annotations

import math
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
"""Number of epochs up to which each prints a line; if there are more, evenly spaced ones do."""
MAX_QUIET_SECONDS = 10.0
"""Seconds without a line after which every epoch prints one."""
FIRST_UPDATE_SECONDS, TERMINAL_UPDATE_SECONDS, LINE_INTERVAL_SECONDS = 2.0, 0.5, 30.0
"""Seconds before a sweep first shows its running jobs, between updates on a terminal, and between lines elsewhere."""
POSITION_PATTERN = re.compile(r"epoch (N)/(N)  step (N)/(N)".replace("N", r"\d[\d,]{0,24}"), re.ASCII)
"""Matches positions; the number of digits is limited because a job may print anything."""


@dataclass(frozen=True)
class Position:
    """Position of a run in training.

    Attributes:
        epoch: Current epoch, counted from 1.
        epochs: Number of epochs.
        step: Completed optimizer steps.
        steps: Number of optimizer steps.
    """

    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def completed_fraction(self) -> float:
        """Fraction of the steps that are complete, in [0, 1]."""
        return self.step / max(1, self.steps)

    def format_position(self) -> str:
        """Format the position as ``epoch 3/10  step 120/400``."""
        return f"epoch {self.epoch:,}/{self.epochs:,}  step {self.step:,}/{self.steps:,}"


def parse_position(text: str) -> Position | None:
    """Return the last position in a text, or None if there is none."""
    matches = POSITION_PATTERN.findall(text)
    return Position(*(int(part.replace(",", "")) for part in matches[-1])) if matches else None


class ThroughputMeter:
    """Measurement of throughput, with an estimate of the time left.

    Args:
        trainer: Trainer of the run.
        rows: Number of rows of an epoch.
        unit: Noun for the rows, such as ``rows`` or ``nodes``.
    """

    def __init__(self, trainer: Trainer, rows: int, unit: str):
        self.steps_per_epoch = -(-len(trainer.train_loader) // trainer.settings.accumulate)
        self.epochs = -(-trainer.total_steps // self.steps_per_epoch)
        self.rows_per_epoch, self.unit = rows, unit
        self._first_step = self._last_step = self._last_line_step = trainer.step
        self._started_at = self._last_update_at = self._last_line_at = time.monotonic()
        self._training_seconds = 0.0

    def record_step(self, trainer: Trainer) -> None:
        """Add the time since the last call to the training time, if a step was completed."""
        now = time.monotonic()
        if trainer.step != self._last_step:
            self._training_seconds += now - self._last_update_at
            self._last_step = trainer.step
        self._last_update_at = now

    def is_line_due(self, trainer: Trainer, epoch: int) -> bool:
        """Return whether an epoch that has ended prints a line.

        Args:
            trainer: Trainer of the run.
            epoch: The epoch, counted from 1.
        """
        stride = max(1, -(-self.epochs // MAX_EPOCH_LINES))
        is_last = trainer.step >= trainer.total_steps
        return epoch % stride == 0 or is_last or time.monotonic() - self._last_line_at > MAX_QUIET_SECONDS

    def seconds_elapsed(self) -> float:
        """Return the seconds since the run was started or resumed."""
        return time.monotonic() - self._started_at

    def seconds_since_line(self) -> float:
        """Return the seconds since the last line was printed."""
        return time.monotonic() - self._last_line_at

    def get_position(self, trainer: Trainer, *, epoch: int) -> Position:
        """Return the position of a trainer in an epoch.

        Args:
            trainer: The trainer.
            epoch: Number of the epoch, from 1.
        """
        return Position(epoch, max(epoch, self.epochs), trainer.step, trainer.total_steps)

    def format_line(self, trainer: Trainer, epoch: int, loss: float, score: float | None) -> str:
        """Format a line such as ``epoch 3/10  step 120/400  loss 0.5  val accuracy 0.9  12,300 rows/s  0:12 left``.

        Args:
            trainer: Trainer of the run.
            epoch: The epoch, counted from 1.
            loss: Training loss.
            score: Validation score of the monitored metric, if there was a validation.
        """
        parts = [self.get_position(trainer, epoch=epoch).format_position()]
        if math.isfinite(loss):  # without a step there is none
            parts.append(f"loss {format_number(loss)}")
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
        """Estimate the remaining seconds from the time per step so far, including validation."""
        num_steps = trainer.step - self._first_step
        seconds = self.seconds_elapsed()
        return (trainer.total_steps - trainer.step) * seconds / num_steps if num_steps else 0.0


class SweepProgress:
    """Progress of a sweep: a line for each finished job, and a status of the running ones.

    On a terminal the status is updated in place; elsewhere it is printed at intervals.

    Args:
        total: Number of jobs.
    """

    def __init__(self, total: int):
        self.total, self.num_done = total, 0
        self.is_stopping = False  # then no time is left
        self.started_at = time.monotonic()
        self._next_update_at = self.started_at + FIRST_UPDATE_SECONDS
        # A separate console, because jobs are forks and would redraw the status of the shared one.
        self._live = (
            Live(
                console=PlainConsole(), auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            if console.is_terminal
            else None
        )

    @property
    def is_update_due(self) -> bool:
        """Whether the status of the running jobs should be shown again; reading their positions takes time."""
        return time.monotonic() >= self._next_update_at

    def show_running_jobs(self, running: Sequence[tuple[str, Position | None]]) -> None:
        """Show the status of the running jobs, if an update is due.

        Args:
            running: Name and position of each job; None before its first line.
        """
        if not self.is_update_due:
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
        """Print the line of a finished job with the remaining time of the sweep.

        Args:
            text: Line of the job.
            running: Name and position of each running job.
        """
        if self._live is not None:
            self._live.stop()
        self.num_done += 1
        time_left = "" if self.is_stopping or self.num_done == self.total else self._format_time_left(running)
        print_line(f"[{self.num_done}/{self.total}] {text}{f'  {time_left}' if time_left else ''}")

    def _format_status(self, running: Sequence[tuple[str, Position | None]]) -> str:
        lines = [
            f"{name}: {'starting' if position is None else position.format_position()}" for name, position in running
        ]
        summary = f"{self.num_done} of {format_count(self.total, 'job')} done  {self._format_time_left(running)}"
        return "\n".join([*lines, summary.rstrip()])

    def _format_time_left(self, running: Sequence[tuple[str, Position | None]]) -> str:
        """Estimate the remaining time from the jobs so far; running jobs count by their completed fraction."""
        completed_jobs = self.num_done + sum(
            position.completed_fraction for _, position in running if position is not None
        )
        if not completed_jobs:
            return ""
        seconds = time.monotonic() - self.started_at
        return f"about {format_duration(seconds * (self.total - completed_jobs) / completed_jobs)} left"


class StageProgress(SweepProgress):
    """Progress of a part of a search: no line for a job that ends well, because a line for all of them follows."""

    def finish_job(self, text: str, running: Sequence[tuple[str, Position | None]]) -> None:
        if self._live is not None:
            self._live.stop()
        self.num_done += 1
        if not text.startswith(("finished", "paused", "interrupted")):
            print_line(text)


def format_duration(seconds: float) -> str:
    """Format seconds as ``0:07``, ``12:30`` or ``3:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
