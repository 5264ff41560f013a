"""Artifacts of a run: training curves and the figures and tables of its task."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import closing
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
"""Maximum number of points of a learning-rate curve."""
History = Sequence[Mapping[str, Any]]


def draw_curves(
    path: Path, history: History, result: Result, learning_rates: plots.LearningRateCurves | None = None
) -> None:
    """Draw the training curves of a run, if there was a validation.

    Args:
        path: The run directory.
        history: Rows of the validations.
        result: Result of the run, for the monitor and the best epoch.
        learning_rates: Learning-rate curve of each parameter group.
    """
    if history:
        with atomic_write.replace_file(path / run_dir.CURVES_FILE) as temporary:
            plots.draw_training_curves(history, result.monitor, temporary, learning_rates, result.best_epoch)


def collect_learning_rates(trainer: Trainer) -> plots.LearningRateCurves:
    """Return the learning-rate curve of each parameter group so far."""
    return {name: sample_lr_curve(trainer, name) for name in trainer.param_groups}


def sample_lr_curve(trainer: Trainer, name: str) -> list[tuple[int, float]]:
    """Sample the learning-rate curve of a parameter group so far.

    Schedules that depend on validation scores are known only at the validations.

    Args:
        trainer: The trainer.
        name: Name of the parameter group.

    Returns:
        Pairs of step and learning rate.
    """
    group = trainer.param_groups[name]
    if group.schedule.state_dict() or not group.num_updates:
        return [(int(row["step"]), row[f"lr_{name}"]) for row in trainer.history]
    updates = sorted({round(k * (group.num_updates - 1) / (MAX_LR_POINTS - 1)) for k in range(MAX_LR_POINTS)})
    steps_per_update = trainer.step / group.num_updates  # a group may update on some of the steps only, as in a GAN
    return [(round(update * steps_per_update), group.schedule(update)[0]) for update in updates]


def draw_artifacts(
    trainer: Trainer, test: Loader, snapshots: SampleSnapshots, result: Result, limit: time_limit.TimeLimit
) -> tuple[list[Path], list[str]]:
    """Write the artifacts of a finished run whose best weights are loaded.

    Args:
        trainer: Trainer of the run.
        test: Loader of the test split.
        snapshots: Previews saved during training.
        result: Result of the run.
        limit: Time limit.

    Returns:
        Paths of the artifacts, and names of those that were skipped for lack of time.
    """
    path = Path(result.run_dir)
    draw_curves(path, trainer.history, result, collect_learning_rates(trainer))
    if not snapshots.is_enabled:
        return [], []
    with closing(test.iter_epoch(0)) as batches:
        paths, skipped = time_limit.draw_with_time_limit(
            trainer.task.make_artifacts(batches), trainer.task.model, path, limit
        )
    return [*paths, *snapshots.draw_snapshot_strip(trainer)], skipped


def find_missing_artifacts(path: Path, result: Result, *, has_metrics_file: bool = True) -> list[str]:
    """Return the names of missing artifacts of a finished run, which was killed or whose files were removed.

    Args:
        path: The run directory.
        result: Result of the run, which lists its artifacts.
        has_metrics_file: Whether the run writes ``metrics.csv``.
    """
    names = [run_dir.METRICS_FILE] * has_metrics_file + [run_dir.CURVES_FILE, *(result.artifacts or [])]
    missing = [name for name in names if not _is_written(path, name)]
    return missing + ["its figures"] * (result.artifacts is None)


def _is_written(path: Path, name: str) -> bool:
    """Return whether a run directory contains a non-empty file of that name; names with a directory are rejected."""
    file = os.path.join(path, name)
    # Path.is_file raises if the name is too long.
    return os.path.basename(name) == name and os.path.isfile(file) and os.path.getsize(file) > 0
