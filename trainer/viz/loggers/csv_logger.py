"""Tables in the run's folder: metrics.csv with a row a validation, and steps.csv with one every so many steps."""

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
    """Writes metrics.csv, and steps.csv if ``steps``.

    The first is written anew from the history when a run goes on, the second is cut to the steps of its checkpoint. A
    disk that is full ends the run: it is the disk of the checkpoints.
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
        """Every row is on the disk already."""

    def state_dict(self) -> dict[str, Any]:
        return {}


def write_rows(file: Path, rows: Rows) -> None:
    """Write a table in one step, if it has rows: a resumed run neither repeats nor skips one."""
    if rows:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        atomic_write.write_text(file, text.getvalue())


def append_history(file: Path, history: Rows) -> None:
    """Add the newest row; a cut last line of a killed run is written anew when it goes on."""
    if len(history) == 1:
        write_rows(file, history)
    else:
        append_row(file, history[-1], list(history[0]))


def append_row(file: Path, row: Mapping[str, Any], columns: Sequence[str], *, is_first: bool = False) -> None:
    """Add a row to a table, behind a header if it is the first."""
    with atomic_write.catch_write_errors(file), open(file, "a", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, columns, lineterminator="\n", extrasaction="ignore", restval="")
        if is_first:
            writer.writeheader()
        writer.writerow(row)


def cut_steps(file: Path, step: int) -> None:
    """Take back the rows of steps that will be trained again, and a last line that was cut by a crash."""
    if not file.exists():
        return
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    atomic_write.write_text(file, "".join(_drop_later_rows(lines, step)))


def _drop_later_rows(lines: Iterable[str], step: int) -> Iterable[str]:
    for number, line in enumerate(lines):
        first_cell = line.partition(",")[0]
        if line.endswith("\n") and (number == 0 or (first_cell.isdecimal() and int(first_cell) <= step)):
            yield line
