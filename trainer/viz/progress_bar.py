"""Progress of a run: counted here, printed in a line, and parsed from it by a sweep."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.live import Live
from rich.text import Text

from trainer.utils.text import pluralize, printable
from trainer.viz.console import PlainConsole, console, say
from trainer.viz.score_tables import label, number

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer

LINES = 100
"""Epochs up to which each has a line; of more, evenly spread ones have."""
QUIET_SECONDS = 10.0
"""After so long without one, every epoch has a line."""
FIRST_LOOK, BETWEEN_LOOKS, BETWEEN_LINES = 2.0, 0.5, 30.0
"""Seconds until a sweep tells of jobs that run; between two times on a terminal, and elsewhere."""
POSITION = re.compile(r"epoch (N)/(N)  step (N)/(N)".replace("N", r"\d[\d,]{0,24}"), re.ASCII)
"""Of numbers that a run can come to: a job may print anything."""


@dataclass(frozen=True)
class Position:
    """Where a run stands in training."""

    epoch: int
    epochs: int
    step: int
    steps: int

    @property
    def share(self) -> float:
        return self.step / max(1, self.steps)

    def text(self) -> str:
        return f"epoch {self.epoch:,}/{self.epochs:,}  step {self.step:,}/{self.steps:,}"


def read_position(text: str) -> Position | None:
    """The last position in a text."""
    found = POSITION.findall(text)
    return Position(*(int(part.replace(",", "")) for part in found[-1])) if found else None


class Meter:
    """Measures how fast a run trains. ``rows`` are those of an epoch, ``unit`` what they are called."""

    def __init__(self, trainer: Trainer, rows: int, unit: str):
        self.per_epoch = -(-len(trainer.train_loader) // trainer.settings.accumulate)
        self.epochs = -(-trainer.total_steps // self.per_epoch)
        self.rows, self.unit = rows, unit
        self._first_step = self._last_step = self._line_step = trainer.step
        self._started_at = self._looked_at = self._line_at = time.monotonic()
        self._training = 0.0

    def look(self, trainer: Trainer) -> None:
        """After every batch: only those that were trained on count."""
        now = time.monotonic()
        if trainer.step != self._last_step:
            self._training += now - self._looked_at
            self._last_step = trainer.step
        self._looked_at = now

    def is_due(self, trainer: Trainer, epoch: int) -> bool:
        """Whether the epoch that has ended has a line."""
        stride = -(-self.epochs // LINES)
        is_last = trainer.step >= trainer.total_steps
        return epoch % stride == 0 or is_last or time.monotonic() - self._line_at > QUIET_SECONDS

    def seconds_spent(self) -> float:
        return time.monotonic() - self._started_at

    def since_line(self) -> float:
        return time.monotonic() - self._line_at

    def position(self, trainer: Trainer, *, epoch: int) -> Position:
        return Position(epoch, max(epoch, self.epochs), trainer.step, trainer.total_steps)

    def line(self, trainer: Trainer, epoch: int, loss: float, score: float | None) -> str:
        """``epoch 3/10  step 120/400  loss 0.5123  val accuracy 0.8750  12,300 rows/s  0:12 left``"""
        parts = [self.position(trainer, epoch=epoch).text(), f"loss {number(loss)}"]
        if score is not None:
            parts.append(f"val {label(trainer.monitor)} {number(score)}")
        steps = trainer.step - self._line_step
        if self._training > 0 and steps:
            rate = steps * self.rows / self.per_epoch / self._training
            parts.append(f"{rate:,.0f} {self.unit}/s")
        parts.append(f"{clock_time(self.seconds_left(trainer))} left")
        self._line_at, self._line_step, self._training = time.monotonic(), trainer.step, 0.0
        return "  ".join(parts)

    def seconds_left(self, trainer: Trainer) -> float:
        """By what a step has taken so far, validations included."""
        done = trainer.step - self._first_step
        spent = self.seconds_spent()
        return (trainer.total_steps - trainer.step) * spent / done if done else 0.0


class Board:
    """How far a sweep of so many jobs is: a line for each that ends, and between them what those that run are doing.

    On a terminal the last line is written over; elsewhere there is one now and then.
    """

    def __init__(self, total: int):
        self.total, self.done = total, 0
        self.started_at = time.monotonic()
        self._next_at = self.started_at + FIRST_LOOK
        # With a console of its own: jobs are forks, and what they print must know nothing of these lines.
        self._live = (
            Live(
                console=PlainConsole(), auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=False
            )
            if console.is_terminal
            else None
        )

    def show(self, running: Sequence[tuple[str, Position | None]]) -> None:
        if time.monotonic() < self._next_at:
            return
        text = self._text(running)
        if self._live is None:
            self._next_at = time.monotonic() + BETWEEN_LINES
            say(text)
            return
        self._next_at = time.monotonic() + BETWEEN_LOOKS
        self._live.start()
        self._live.update(Text(printable(text)), refresh=True)

    def end(self, text: str, running: Sequence[tuple[str, Position | None]]) -> None:
        """A job has ended: what is said of it, and when the others will have."""
        if self._live is not None:
            self._live.stop()
        self.done += 1
        left = self._left(running)
        say(f"[{self.done}/{self.total}] {text}{f'  {left}' if left and self.done < self.total else ''}")

    def _text(self, running: Sequence[tuple[str, Position | None]]) -> str:
        parts = [f"{name}: {'starting' if at is None else at.text()}" for name, at in running]
        return "\n".join(
            filter(
                None, [*parts, f"{self.done} of {pluralize(self.total, 'job')} done  {self._left(running)}".rstrip()]
            )
        )

    def _left(self, running: Sequence[tuple[str, Position | None]]) -> str:
        """By what the jobs have taken so far, a half of one counting half."""
        done = self.done + sum(at.share for _, at in running if at is not None)
        if not done:
            return ""
        spent = time.monotonic() - self.started_at
        return f"about {clock_time(spent * (self.total - done) / done)} left"


def clock_time(seconds: float) -> str:
    """``0:07``, ``12:30``, ``3:05:00``"""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:,}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
