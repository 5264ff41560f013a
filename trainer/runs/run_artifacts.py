"""Artifacts of a run: metrics, curves, and what its task shows of the test rows."""

from __future__ import annotations

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
    from trainer.viz.snapshots import SampleSnapshots

MAX_LR_POINTS = 500
"""Steps at which a learning rate is drawn."""
History = Sequence[Mapping[str, Any]]


def draw_curves(
    path: Path, history: History, result: Result, learning_rates: plots.LearningRateCurves | None = None
) -> None:
    """Draws ``plots.draw_training_curves`` of a run so far, if anything was validated."""
    if history:
        with atomic_write.replace_file(path / run_dir.CURVES_FILE) as temporary:
            plots.draw_training_curves(history, result.monitor, temporary, learning_rates, result.best_epoch)


def collect_learning_rates(trainer: Trainer) -> plots.LearningRateCurves:
    """The learning rates of each player so far."""
    return {name: sample_lr_curve(trainer, name) for name in trainer.param_groups}


def sample_lr_curve(trainer: Trainer, name: str) -> list[tuple[int, float]]:
    """(step, learning rate) of a player so far: at any step, or where scores decide it at the validations."""
    group = trainer.param_groups[name]
    if group.schedule.state_dict() or not group.num_updates:
        return [(int(row["step"]), row[f"lr_{name}"]) for row in trainer.history]
    updates = sorted({round(k * (group.num_updates - 1) / (MAX_LR_POINTS - 1)) for k in range(MAX_LR_POINTS)})
    steps_per_update = trainer.step / group.num_updates  # in a game a player has a part of the steps
    return [(round(update * steps_per_update), group.schedule(update)[0]) for update in updates]


def draw_artifacts(
    trainer: Trainer, test: Loader, snapshots: SampleSnapshots, result: Result, limit: time_limit.TimeLimit
) -> tuple[list[Path], list[str]]:
    """Draws everything there is to see of a finished run whose best weights are in place.

    Gives the pictures' paths, and the names of those for which there was no time.
    """
    path = Path(result.folder)
    draw_curves(path, trainer.history, result, collect_learning_rates(trainer))
    if not snapshots.is_enabled:
        return [], []
    drawn, skipped = time_limit.draw_with_time_limit(
        trainer.task.make_artifacts(test.iter_epoch(0)), trainer.task.model, path, limit
    )
    return [*drawn, *snapshots.draw_snapshot_strip(trainer)], skipped


def find_missing_artifacts(path: Path, result: Result, *, has_metrics_file: bool = True) -> list[str]:
    """What a finished run should have left and has not: it was killed too early, or somebody removed it."""
    names = [run_dir.METRICS_FILE] * has_metrics_file + [run_dir.CURVES_FILE, *(result.artifacts or [])]
    missing = [name for name in names if not _is_written(path, name)]
    return missing + ["its pictures"] * (result.artifacts is None)


def _is_written(path: Path, name: str) -> bool:
    """Whether a run folder holds a file of that name, with something in it; a name that leads elsewhere is none."""
    file = os.path.join(path, name)
    # Not Path.is_file, which raises for a name that is too long.
    return os.path.basename(name) == name and os.path.isfile(file) and os.path.getsize(file) > 0
