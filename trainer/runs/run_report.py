"""Console output of a run: progress, epochs, scores and summary."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from trainer.engine.callbacks import Callback
from trainer.metrics.registry import get_monitor_name
from trainer.runs.run_command import format_command
from trainer.runs.run_log import OwnRunFilter
from trainer.utils.cpu import count_cores
from trainer.utils.signals import StopFlag
from trainer.utils.text import format_count
from trainer.viz.console import ConsoleHandler, console
from trainer.viz.progress_bar import ThroughputMeter, format_duration
from trainer.viz.score_tables import (
    build_score_table,
    explain_better_than_best,
    format_decisions,
    format_metric_name,
    format_number,
    format_score_comparison,
)

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer
    from trainer.runs.results import Result

log = logging.getLogger(__name__)
REDRAW_SECONDS = 0.2
LONG_EPOCH_SECONDS = 60.0
"""Seconds after which a long epoch prints a line before its end, if the output is not a terminal."""
ANNOUNCE_AFTER_SECONDS = 2.0
"""Seconds after which a nested run prints its remaining time."""
MAX_COLUMN_READINGS = 8
"""Maximum number of columns whose encoding is printed."""


class RunReporter(Callback):
    """Callback that reports progress: a bar on a terminal, a line per epoch, and every validation in the log.

    Args:
        flag: Set by signal handlers.
        verbose: Print log messages, not only warnings.
        quiet: Print only the bar, for a nested run.
        name: Name of a nested run, for the line about its length.
    """

    def __init__(self, flag: StopFlag, *, verbose: bool, quiet: bool = False, name: str = ""):
        self.flag = flag
        self.quiet, self.name = quiet, name
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.completed}/{task.total} steps", markup=False),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            # Refreshed between batches: a thread would slow down training.
            auto_refresh=False,
            disable=not console.is_terminal,
        )
        self._handler = ConsoleHandler(console, logging.INFO if verbose else logging.WARNING)
        self._handler.addFilter(OwnRunFilter())
        self._next_draw = 0.0
        self._test_rows = 0
        self._reported_epoch = self._num_skipped = 0
        self._has_announced_time = False

    def __enter__(self) -> RunReporter:
        logging.getLogger("trainer").addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.progress.stop()
        logging.getLogger("trainer").removeHandler(self._handler)

    def _print_time_left(self, trainer: Trainer) -> None:
        console.print(f"{self.name}: about {format_duration(self.meter.seconds_left(trainer))} of training left")

    def print_line(self, text: str, style: str | None = None) -> None:
        """Print a line, unless the run is quiet.

        Args:
            text: The line.
            style: Style of rich.
        """
        if not self.quiet:
            console.print(text, style=style, soft_wrap=True)

    def announce_lines(self, lines: Sequence[str]) -> None:
        """Print lines about the setup of the run, and write them to the log."""
        for line in lines:
            self.print_line(line)
            log.info("%s", line)

    def announce_start(
        self,
        trainer: Trainer,
        result: Result,
        sizes: Mapping[str, tuple[int, str]],
        column_summaries: Sequence[str] = (),
        baseline_rule: str = "",
    ) -> None:
        """Print what is trained on which data, and start the progress bar.

        Args:
            trainer: Trainer of the run.
            result: Result of the run.
            sizes: Number and unit of the examples of each split.
            column_summaries: Encoding of each column of the user's table.
            baseline_rule: Rule of the baseline, if it was selected among several.
        """
        self.flag.defer_stop()
        (rows, unit), (self._test_rows, _) = sizes["train"], sizes["test"]
        threads, params = format_count(result.threads, "thread"), format_count(result.params, "parameter")
        start_text = f", from step {trainer.step:,}" if trainer.step else ""
        split_sizes = " / ".join(f"{count:,}" for count, _ in sizes.values())
        text = f"{result.model} on {result.data}: {params}, {split_sizes} {unit}, {result.device}, {threads}"
        self.print_line(f"{text}{start_text}", "bold")
        log.info("%s%s; config %s", text, start_text, result.identity)
        if column_summaries:
            rest = (
                f"; and {len(column_summaries) - MAX_COLUMN_READINGS} more"
                if len(column_summaries) > MAX_COLUMN_READINGS
                else ""
            )
            self.print_line(f"read as: {'; '.join(column_summaries[:MAX_COLUMN_READINGS])}{rest}")
            log.info("read as: %s", "; ".join(column_summaries))
        if baseline_rule:
            self.print_line(f"baseline: {baseline_rule}")
        if trainer.settings.num_workers > count_cores():
            self.print_line(
                f"num_workers: {trainer.settings.num_workers} processes share {format_count(count_cores(), 'core')}"
            )
        self._reported_epoch = trainer.epoch
        self._unit = rows, unit
        self.progress.start()
        self._progress_task = self.progress.add_task("train", total=trainer.total_steps, completed=trainer.step)

    def on_fit_start(self, trainer: Trainer) -> None:
        self.meter = ThroughputMeter(trainer, *self._unit)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        if trainer.epoch > self._reported_epoch:  # an epoch without a validation has ended
            self._print_epoch(trainer, trainer.epoch, None)
        self.on_evaluation_batch_end(trainer)

    def on_evaluation_batch_end(self, trainer: Trainer) -> None:
        self.meter.record_step(trainer)
        if time.monotonic() >= self._next_draw:
            self._draw_progress(trainer)

    def _draw_progress(self, trainer: Trainer) -> None:
        self._next_draw = time.monotonic() + REDRAW_SECONDS
        self.progress.update(
            self._progress_task,
            completed=trainer.step,
            description=f"epoch {min(trainer.epoch + 1, self.meter.epochs)}",
        )
        self.progress.refresh()
        if self.quiet and not self._has_announced_time and self.meter.seconds_elapsed() > ANNOUNCE_AFTER_SECONDS:
            self._has_announced_time = True
            self._print_time_left(trainer)
        if not console.is_terminal and self.meter.seconds_since_line() > LONG_EPOCH_SECONDS:
            self.print_line(
                self.meter.format_line(trainer, trainer.epoch + 1, trainer.nan_guard.compute_means()[0], None)
            )

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        log.info("%s", "  ".join(f"{name} {format_number(value)}" for name, value in row.items()))
        self.meter.record_step(trainer)
        self._print_epoch(trainer, int(row["epoch"]), row)

    def on_epoch_end(self, trainer: Trainer) -> None:
        if trainer.nan_guard.max_skipped == 1:
            return
        total = int(trainer.nan_guard.skipped()["total"])
        # On the CPU each is logged when it is skipped.
        if total > self._num_skipped and trainer.device.type != "cpu":
            updates = format_count(total - self._num_skipped, "update")
            text = "%s skipped in epoch %d, because the loss or a gradient was not finite; %d in all"
            log.warning(text, updates, trainer.epoch, total)
        self._num_skipped = total

    def state_dict(self) -> dict[str, Any]:
        """Return the number of updates that were skipped before the current epoch, if there are any."""
        return {"num_skipped": self._num_skipped} if self._num_skipped else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        num_skipped = state.get("num_skipped")
        if not isinstance(num_skipped, int) or num_skipped < 0:
            raise ValueError(f"num_skipped is {num_skipped!r}, not a number of updates")
        self._num_skipped = num_skipped

    def _print_epoch(self, trainer: Trainer, epoch: int, row: Mapping[str, float] | None) -> None:
        """Print the line of an epoch, with its validation if there was one."""
        self._reported_epoch = epoch
        if self.meter.is_line_due(trainer, epoch):
            loss = trainer.nan_guard.compute_means()[0] if row is None else row["train_loss"]
            score = None if row is None else row[f"val_{trainer.monitor}"]
            self.print_line(self.meter.format_line(trainer, epoch, loss, score))

    def announce_drawing(self) -> None:
        """Print that figures are drawn, which may take a while."""
        self.print_line("drawing figures of the test rows (draw=false skips them)")

    def show_scores(self, trainer: Trainer, result: Result) -> None:
        """Print the scores of the best epoch, and the test scores with baseline and best possible scores.

        It writes no file, because the disk may be full.

        Args:
            trainer: Trainer of the run.
            result: Result of the run.
        """
        self.progress.stop()
        name = result.monitor
        if self.quiet:
            return
        scores = ", ".join(
            f"{format_metric_name(metric_name)} {format_number(value)}"
            for metric_name, value in result.val.items()
            if metric_name != "loss"
        )
        chosen = f"chosen: epoch {result.best_epoch} of {result.epochs} by val {format_metric_name(name)}"
        self.print_line(f"{chosen if trainer.total_steps else 'initial weights, without training'}; val {scores}")
        if result.decisions:
            self.print_line(f"fitted on the validation rows: {format_decisions(result.decisions)}")
        self.print_line("")
        console.print(build_score_table(result))
        for name in dict.fromkeys((get_monitor_name(trainer.task), result.monitor)):
            self.print_line(
                f"{format_score_comparison(result, name)}   ({format_metric_name(name)} on the test rows)", "bold"
            )
            if note := explain_better_than_best(result, name, self._test_rows):
                console.print(note)

    def log_scores(self, result: Result) -> None:
        """Write the test scores to the log."""
        scores = {key: round(value, 6) for key, value in result.test.items()}
        log.info("test %s; %s", scores, format_score_comparison(result, result.monitor))

    def show_summary(
        self, trainer: Trainer, result: Result, artifacts: Sequence[Path], skipped: Sequence[str] = ()
    ) -> None:
        """Print where the run is saved, its artifacts, and those that were skipped.

        Args:
            trainer: Trainer of the run.
            result: Result of the run.
            artifacts: Paths of the artifacts.
            skipped: Names of the artifacts that were skipped for lack of time.
        """
        self.print_line(f"saved in {result.run_dir} ({result.seconds:.1f} s)")
        if result.artifacts is None:
            command = format_command("resume", Path(result.run_dir), trainer.settings.plugins)
            self.print_line(f"no figures yet: {command} draws them")
        if artifacts:
            self.print_line(f"figures: {', '.join(path.name for path in artifacts)}")
        if skipped:
            limit = trainer.settings.draw_seconds
            self.print_line(f"not drawn within draw_seconds={limit:g}: {', '.join(skipped)}")
