"""What a run shows while it trains and when it is done, and the rows it writes."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.runs import run_artifacts
from trainer.utils.cpu import cores
from trainer.utils.signals import Flag
from trainer.utils.text import pluralize
from trainer.viz.console import ConsoleHandler, console
from trainer.viz.progress_bar import Meter, clock_time
from trainer.viz.score_tables import beyond_best, in_context, label, number, score_table

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer
    from trainer.runs.results import Result

log = logging.getLogger(__name__)
REDRAW_SECONDS = 0.2
LONG_EPOCH = 60.0
"""Seconds of one epoch after which a line comes before its end, off a terminal."""
MOMENT = 2.0
"""Seconds of a run within another after which it is told how long it takes."""
READINGS = 8
"""Columns of the user's of which it is told how they were read."""


class Report:
    """Watches a trainer: looks for a signal at every batch, tells of every epoch, writes a row a validation.

    quiet: only the bar, for a run within another.
    """

    def __init__(self, flag: Flag, *, verbose: bool, quiet: bool = False):
        self.flag = flag
        self.quiet = quiet
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total} steps", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Drawn by hand between batches: a drawing thread would take its time from training.
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._handler = ConsoleHandler(console, logging.INFO if verbose else logging.WARNING)
        self._next_draw = 0.0
        self._path = Path()
        self._test_rows = 0
        self._told_epoch = 0
        self._told_time = False

    def __enter__(self) -> Report:
        logging.getLogger("trainer").addHandler(self._handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()
        logging.getLogger("trainer").removeHandler(self._handler)

    def say(self, text: str, style: str | None = None) -> None:
        """A line for the reader, unless this run is within another."""
        if not self.quiet:
            console.print(text, style=style, soft_wrap=True)

    def start(
        self,
        trainer: Trainer,
        result: Result,
        sizes: Mapping[str, tuple[int, str]],
        reading: Sequence[str] = (),
        rule: str = "",
    ) -> None:
        """Says what is about to be trained, and on what: ``sizes`` of the splits, how columns were read, and the
        rule of the baseline where it was chosen among several."""
        self.flag.wait_for_check()
        self._path = Path(result.folder)
        (rows, unit), (self._test_rows, _) = sizes["train"], sizes["test"]
        threads, params = pluralize(result.threads, "thread"), pluralize(result.params, "parameter")
        going_on = f", from step {trainer.step:,}" if trainer.step else ""
        shown = " / ".join(f"{count:,}" for count, _ in sizes.values())
        text = f"{result.model} on {result.data}: {params}, {shown} {unit}, {result.device}, {threads}"
        self.say(f"{text}{going_on}", "bold")
        log.info("%s%s; config %s", text, going_on, result.identity)
        if reading:
            more = f"; and {len(reading) - READINGS} more" if len(reading) > READINGS else ""
            self.say(f"read as: {'; '.join(reading[:READINGS])}{more}")
            log.info("read as: %s", "; ".join(reading))
        if rule:
            self.say(f"baseline: {rule}")
        if trainer.settings.num_workers > cores():
            self.say(f"num_workers: {trainer.settings.num_workers} processes share {pluralize(cores(), 'core')}")
        run_artifacts.write_metrics(self._path, trainer.history)
        self._told_epoch = trainer.epoch
        self.meter = Meter(trainer, rows, unit)
        self.progress.start()
        self._bar = self.progress.add_task("train", total=trainer.total_steps, completed=trainer.step)

    def stepped(self, trainer: Trainer) -> None:
        self.flag.check()
        if trainer.epoch > self._told_epoch:  # one that ended without a validation
            self._tell(trainer, trainer.epoch, None)
        self.meter.look(trainer)
        if time.monotonic() >= self._next_draw:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        self._next_draw = time.monotonic() + REDRAW_SECONDS
        self.progress.update(
            self._bar, completed=trainer.step, description=f"epoch {min(trainer.epoch + 1, self.meter.epochs)}"
        )
        self.progress.refresh()
        if self.quiet and not self._told_time and self.meter.seconds_spent() > MOMENT:
            self._told_time = True
            console.print(f"about {clock_time(self.meter.seconds_left(trainer))} of training left")
        if not console.is_terminal and self.meter.since_line() > LONG_EPOCH:
            self.say(self.meter.line(trainer, trainer.epoch + 1, trainer.guard.means()[0], None))

    def scored(self, trainer: Trainer, row: dict[str, float]) -> None:
        log.info("%s", "  ".join(f"{name} {number(value)}" for name, value in row.items()))
        run_artifacts.append_metrics(self._path, trainer.history)
        self.meter.look(trainer)
        self._tell(trainer, trainer.epoch + 1, row)

    def _tell(self, trainer: Trainer, epoch: int, row: Mapping[str, float] | None) -> None:
        """The line of an epoch that has ended, with its validation if there was one."""
        self._told_epoch = epoch
        if self.meter.is_due(trainer, epoch):
            loss = trainer.guard.means()[0] if row is None else row["train_loss"]
            score = None if row is None else row[f"val_{trainer.monitor}"]
            self.say(self.meter.line(trainer, epoch, loss, score))

    def announce_drawing(self) -> None:
        self.say("drawing what there is to see of the test rows (draw=false leaves it out)")

    def show_scores(self, trainer: Trainer, result: Result) -> None:
        """The scores of the chosen epoch, and the test scores in their context. Writes no file: a disk may be full."""
        self.progress.stop()
        name = result.monitor
        if self.quiet:
            return
        scores = ", ".join(f"{label(each)} {number(value)}" for each, value in result.val.items() if each != "loss")
        self.say(f"chosen: epoch {result.best_epoch} of {result.epochs} by val {label(name)}; val {scores}\n")
        console.print(score_table(result))
        for name in dict.fromkeys((trainer.task.monitor, result.monitor)):
            self.say(f"{in_context(result, name)}   ({label(name)} on the test rows)", "bold")
            if note := beyond_best(result, name, self._test_rows):
                console.print(note)

    def log_scores(self, result: Result) -> None:
        scores = {key: round(value, 6) for key, value in result.test.items()}
        log.info("test %s; %s", scores, in_context(result, result.monitor))

    def finish(self, trainer: Trainer, result: Result, drawn: Sequence[Path], missed: Sequence[str] = ()) -> None:
        """Where everything is, and what there was no time for."""
        self.say(f"saved in {result.folder} ({result.seconds:.1f} s)")
        if drawn:
            self.say(f"pictures: {', '.join(path.name for path in drawn)}")
        if missed:
            limit = trainer.settings.draw_seconds
            self.say(f"not drawn within draw_seconds={limit:g}: {', '.join(missed)}")
