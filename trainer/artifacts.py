"""The files a run leaves for its reader: metrics, curves, and what its task shows of the test rows."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer import atomic, folder, pictures

if TYPE_CHECKING:
    from trainer.album import Album
    from trainer.loader import Loader
    from trainer.result import Result
    from trainer.trainer import Trainer

History = Sequence[Mapping[str, Any]]


def write_metrics(path: Path, history: History) -> None:
    """Every row so far, from the state itself: a resumed run neither repeats nor skips one."""
    if history:
        text = io.StringIO()
        writer = csv.DictWriter(text, list(history[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(history)
        atomic.write_text(path / folder.METRICS, text.getvalue())


def append_metrics(path: Path, history: History) -> None:
    """The newest row; a cut last line of a killed run is written anew when it goes on."""
    if len(history) == 1:
        write_metrics(path, history)
        return
    file_path = path / folder.METRICS
    with atomic.written(file_path), open(file_path, "a", encoding="utf-8", newline="") as file:
        csv.DictWriter(file, list(history[0]), lineterminator="\n").writerow(history[-1])


def draw_curves(path: Path, history: History, result: Result) -> None:
    """Losses, scores and learning rates so far, if anything was validated."""
    if history:
        with atomic.replaced(path / folder.CURVES) as temporary:
            pictures.curves(history, result.monitor, temporary)


def draw_all(trainer: Trainer, test: Loader, album: Album, result: Result) -> list[Path]:
    """Draws everything there is to see of a finished run whose best weights are in place; gives the pictures' paths."""
    path = Path(result.folder)
    draw_curves(path, trainer.history, result)
    return [*pictures.draw(trainer.task.gallery(test.epoch(0)), path), *album.strip(trainer)]


def missing(path: Path, result: Result) -> list[str]:
    """What a finished run should have left and has not: it was killed too early, or somebody removed it."""
    names = [folder.METRICS, folder.CURVES, *(result.artifacts or [])]
    lost = [name for name in names if not (path / name).is_file() or not (path / name).stat().st_size]
    return lost + ["its pictures"] * (result.artifacts is None)
