"""What a run shows: a progress bar, a table of scores, files that can be read by anything."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from trainer import artifacts
from trainer.signals import Flag

if TYPE_CHECKING:
    from torch import Tensor

    from trainer.result import Result
    from trainer.trainer import Trainer

log = logging.getLogger(__name__)
REDRAW_SECONDS = 0.2
SHOWN_ROWS, COLUMN = 10, 13
"""Rows of the table of validations, and letters that one of its columns takes."""
QUANTILES = (0.0, 0.05, 0.5, 0.95, 1.0)
console = Console(highlight=False)


class Report:
    """Watches a trainer: looks for a signal at every batch, draws a few times a second, writes a row an epoch."""

    def __init__(self, flag: Flag, *, verbose: bool):
        self.flag = flag
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            TextColumn("{task.completed}/{task.total} steps"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[scores]}"),
            console=console,
            transient=True,
            # Drawn by hand between batches: a drawing thread would take its time from training.
            auto_refresh=False,
        )
        self._handler = RichHandler(
            console=console, show_path=False, level=logging.INFO if verbose else logging.WARNING
        )
        self._next_draw = 0.0
        self._scores = ""
        self._path = Path()

    def __enter__(self) -> Report:
        logging.getLogger("trainer").addHandler(self._handler)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.progress.stop()
        logging.getLogger("trainer").removeHandler(self._handler)

    def start(self, trainer: Trainer, result: Result, rows: Mapping[str, int]) -> None:
        """Says what is about to be trained, and on what."""
        self.flag.wait_for_check()
        self._path = Path(result.folder)
        sizes = " / ".join(f"{count:,}" for count in rows.values())
        threads = f"{result.threads} thread{'s' if result.threads > 1 else ''}"
        going_on = f", from step {trainer.step:,}" if trainer.step else ""
        text = (
            f"{result.model} on {result.data}: {result.params:,} parameters, {sizes} rows, {result.device}, {threads}"
        )
        console.print(f"[bold]{text}{going_on}[/bold]", soft_wrap=True)
        log.info("%s%s; config %s", text, going_on, result.identity)
        artifacts.write_metrics(self._path, trainer.history)
        self.progress.start()
        self._bar = self.progress.add_task("train", total=trainer.total_steps, completed=trainer.step, scores="")

    def stepped(self, trainer: Trainer) -> None:
        self.flag.check()
        if time.monotonic() >= self._next_draw:
            self._draw(trainer)

    def _draw(self, trainer: Trainer) -> None:
        self._next_draw = time.monotonic() + REDRAW_SECONDS
        self.progress.update(
            self._bar, completed=trainer.step, description=f"epoch {trainer.epoch + 1}", scores=self._scores
        )
        self.progress.refresh()

    def scored(self, trainer: Trainer, row: dict[str, float]) -> None:
        self._scores = f"val {trainer.monitor} {_number(row['val_' + trainer.monitor])}"
        log.info("%s", "  ".join(f"{name} {_number(value)}" for name, value in row.items()))
        artifacts.append_metrics(self._path, trainer.history)

    def finish(self, trainer: Trainer, result: Result, drawn: Sequence[Path]) -> None:
        """The table of validation scores, the test score in its context, and where everything is."""
        self.progress.stop()
        console.print(history_table(trainer.history, result))
        console.print(score_table(result))
        for name in dict.fromkeys((trainer.task.monitor, result.monitor)):
            console.print(f"[bold]{in_context(result, name)}[/bold]   ({name} on the test rows)", soft_wrap=True)
        console.print(f"saved in {result.folder} ({result.seconds:.1f} s)", soft_wrap=True)
        if drawn:
            console.print(f"pictures: {', '.join(path.name for path in drawn)}", soft_wrap=True)
        log.info("test %s; %s", {key: round(value, 6) for key, value in result.test.items()}, in_context(result, name))


def in_context(result: Result, name: str) -> str:
    """``baseline .50 | yours .89 | best possible .8945``"""
    parts = [("baseline", result.baseline), ("yours", result.test), ("best possible", result.best_possible)]
    return " | ".join(f"{label} {_number(scores[name])}" for label, scores in parts if name in scores)


def history_table(history: Sequence[Mapping[str, Any]], result: Result) -> Table:
    """Validation scores of some epochs, evenly spread, the best among them."""
    table = Table(title="validation", title_justify="left")
    scores = [name for name in (history[0] if history else {}) if name.startswith("val_") and not _per_class(name)]
    # Cut columns tell nothing: the first scores that there is room for, the monitored one among them.
    scores = sorted(scores, key=lambda name: name != f"val_{result.monitor}")[: max(1, console.width // COLUMN - 2)]
    for name in ("epoch", "train loss", *(score.removeprefix("val_") for score in scores)):
        table.add_column(name, justify="right")
    stride = max(1, math.ceil(len(history) / SHOWN_ROWS))
    for place, row in enumerate(history):
        best = row["epoch"] == result.best_epoch
        if best or (place + 1) % stride == 0 or place + 1 == len(history):
            cells = [str(row["epoch"]), _number(row["train_loss"]), *(_number(row[name]) for name in scores)]
            table.add_row(*cells, style="bold" if best else None)
    return table


def score_table(result: Result) -> Table:
    """Every test score beside the trivial baseline and the best possible."""
    table = Table(title="test", title_justify="left")
    table.add_column("score")
    for name in ("baseline", "yours", "best possible"):
        table.add_column(name, justify="right")
    for name, value in result.test.items():
        others = (result.baseline.get(name), value, result.best_possible.get(name))
        table.add_row(name, *("" if other is None else _number(other) for other in others))
    return table


def rating_tables(called: str, names: Sequence[object], ratings: Mapping[str, Tensor]) -> Iterator[Table]:
    """How ratings (N,) are spread, and which rows, as they are ``called``, the first of them finds most unusual."""
    from trainer.metrics import direction

    spread = Table(title="rows rated", title_justify="left")
    spread.add_column("score")
    for quantile in QUANTILES:
        spread.add_column({0.0: "least", 0.5: "median", 1.0: "most"}.get(quantile, f"{quantile:.0%}"), justify="right")
    for name, values in ratings.items():
        at = values.double().sort().values[[round(quantile * (len(values) - 1)) for quantile in QUANTILES]]
        spread.add_row(name, *map(_number, at.tolist()))
    yield spread
    name, first = next(iter(ratings.items()))
    unusual = Table(title="most unusual", title_justify="left")
    unusual.add_column(called)
    for rating in ratings:
        unusual.add_column(rating, justify="right")
    away = first if direction(name) == "min" else -first
    for place in away.nan_to_num(math.inf).argsort(descending=True, stable=True)[:SHOWN_ROWS].tolist():
        unusual.add_row(str(names[place]), *(_number(float(values[place])) for values in ratings.values()))
    yield unusual


def _per_class(name: str) -> bool:
    return name.startswith("val_iou_")


def _number(value: float) -> str:
    """Four significant digits, without noise."""
    if isinstance(value, int) or not math.isfinite(value):
        return str(value)
    return f"{value:.4f}" if 1e-3 <= abs(value) < 1e3 or value == 0 else f"{value:.3g}"
