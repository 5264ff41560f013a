"""CSV files in the run directory: metrics.csv with a row per validation, and steps.csv with a row every few steps."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.utils import atomic_write
from trainer.viz.loggers.logger import Logger

if TYPE_CHECKING:
    from trainer.engine.step_metrics import StepMetrics
    from trainer.engine.trainer import Trainer

STEPS_FILE = "steps.csv"
Rows = Sequence[Mapping[str, Any]]


class CSVLogger(Logger):
    """Logger that writes metrics.csv and optionally steps.csv.

    When a run is resumed, metrics.csv is rewritten from the history, and steps.csv is truncated to the steps of the
    checkpoint. Unlike failures of other loggers, a full disk stops the run, because checkpoints cannot be saved either.

    Args:
        steps: Whether to write steps.csv.
    """

    def __init__(self, steps: bool = False):
        self.has_steps = steps

    def on_fit_start(self, trainer: Trainer) -> None:
        if self.run is None:
            return
        write_rows(self.run.metrics_file, trainer.history)
        if self.has_steps:
            cut_steps(self.run.run_dir / STEPS_FILE, trainer.step)

    def on_step_end(self, trainer: Trainer, metrics: StepMetrics) -> None:
        is_due = trainer.step % self.log_every == 0 or trainer.step == trainer.total_steps
        if self.has_steps and self.run is not None and is_due:
            file = self.run.run_dir / STEPS_FILE
            row = {"step": trainer.step, "epoch": trainer.epoch + 1, **metrics}
            append_row(file, row, list(row), is_first=not file.exists())

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        if self.run is not None:
            append_history(self.run.metrics_file, trainer.history)

    def on_exception(self, trainer: Trainer, error: BaseException) -> None:
        """Do nothing: every row is already on the disk.

        Args:
            trainer: The trainer.
            error: Exception that ends training.
        """

    def state_dict(self) -> dict[str, Any]:
        return {}


def write_rows(file: Path, rows: Rows) -> None:
    """Replace a CSV file atomically, if there are rows, so that a resumed run neither repeats nor skips a row.

    Args:
        file: CSV file.
        rows: Rows; the keys of the first are the columns.
    """
    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write.write_text(file, text.getvalue())


def append_history(file: Path, history: Rows) -> None:
    """Append the last row of a history; a partial line of a killed run is repaired when the run is resumed.

    Args:
        file: CSV file.
        history: All rows so far; the keys of the first are the columns.
    """
    if len(history) == 1:
        write_rows(file, history)
    else:
        append_row(file, history[-1], list(history[0]))


def append_row(file: Path, row: Mapping[str, Any], columns: Sequence[str], *, is_first: bool = False) -> None:
    """Append a row to a CSV file.

    Args:
        file: CSV file.
        row: Values by column; other columns are left empty, other keys are ignored.
        columns: Columns of the file.
        is_first: Whether to write the header first.
    """
    with atomic_write.catch_write_errors(file), open(file, "a", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore", restval="")
        if is_first:
            writer.writeheader()
        writer.writerow(row)


def cut_steps(file: Path, step: int) -> None:
    """Remove the rows of steps that will be trained again, and a last line that is incomplete after a crash.

    Args:
        file: CSV file, which may not exist.
        step: Last step to keep.
    """
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    atomic_write.write_text(file, "".join(_drop_later_rows(lines, step)))


def _drop_later_rows(lines: Iterable[str], step: int) -> Iterable[str]:
    for number, line in enumerate(lines):
        first_cell = line.partition(",")[0]
        if line.endswith("\n") and (number == 0 or (first_cell.isdecimal() and int(first_cell) <= step)):
            yield line
