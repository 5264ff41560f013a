"""Artifacts of a run: metrics, curves, and what its task shows of the test rows."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.runs import run_dir
from trainer.utils import atomic_write
from trainer.viz import plots, time_limit

if TYPE_CHECKING:
    from trainer.engine.dataloader import Loader
    from trainer.engine.trainer import Trainer
    from trainer.runs.results import Result
    from trainer.viz.snapshots import Album

RATE_POINTS = 500
"""Steps at which a learning rate is drawn."""
History = Sequence[Mapping[str, Any]]


def write_metrics(path: Path, history: History) -> None:
    """Every row so far, from the state itself: a resumed run neither repeats nor skips one."""
    if history:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        atomic_write.write_text(path / run_dir.METRICS, text.getvalue())


def append_metrics(path: Path, history: History) -> None:
    """The newest row; a cut last line of a killed run is written anew when it goes on."""
    if len(history) == 1:
        write_metrics(path, history)
        return
    file_path = path / run_dir.METRICS
    with atomic_write.written(file_path), open(file_path, "a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, list(history[0]), lineterminator="\n").writerow(history[-1])


def draw_curves(path: Path, history: History, result: Result, rates: plots.Rates | None = None) -> None:
    """Draws ``charts.curves`` of a run so far, if anything was validated."""
    if history:
        with atomic_write.replaced(path / run_dir.CURVES) as temporary:
            plots.curves(history, result.monitor, temporary, rates, result.best_epoch)


def learning_rates(trainer: Trainer) -> plots.Rates:
    """The learning rates of each player so far."""
    return {name: rate_curve(trainer, name) for name in trainer.players}


def rate_curve(trainer: Trainer, name: str) -> list[tuple[int, float]]:
    """(step, learning rate) of a player so far: at any step, or where scores decide it at the validations."""
    player = trainer.players[name]
    if player.schedule.state_dict() or not player.steps:
        return [(int(row["step"]), row[f"lr_{name}"]) for row in trainer.history]
    turns = sorted({round(k * (player.steps - 1) / (RATE_POINTS - 1)) for k in range(RATE_POINTS)})
    stretch = trainer.step / player.steps  # in a game a player has a part of the steps
    return [(round(turn * stretch), player.schedule(turn)[0]) for turn in turns]


def draw_all(
    trainer: Trainer, test: Loader, album: Album, result: Result, clock: time_limit.Clock
) -> tuple[list[Path], list[str]]:
    """Draws everything there is to see of a finished run whose best weights are in place.

    Gives the pictures' paths, and the names of those for which there was no time.
    """
    path = Path(result.folder)
    draw_curves(path, trainer.history, result, learning_rates(trainer))
    if not album.is_on:
        return [], []
    drawn, missed = time_limit.draw_in_time(trainer.task.gallery(test.epoch(0)), trainer.task.model, path, clock)
    return [*drawn, *album.strip(trainer)], missed


def missing(path: Path, result: Result) -> list[str]:
    """What a finished run should have left and has not: it was killed too early, or somebody removed it."""
    names = [run_dir.METRICS, run_dir.CURVES, *(result.artifacts or [])]
    lost = [name for name in names if not _is_written(path, name)]
    return lost + ["its pictures"] * (result.artifacts is None)


def _is_written(path: Path, name: str) -> bool:
    """Whether a run folder holds a file of that name, with something in it; a name that leads elsewhere is none."""
    file = os.path.join(path, name)
    # Not Path.is_file, which raises for a name that is too long.
    return os.path.basename(name) == name and os.path.isfile(file) and os.path.getsize(file) > 0
