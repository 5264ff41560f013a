"""Snapshots: samples from the same noise, saved in the run directory during training."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.core import rng
from trainer.engine.callbacks import Callback
from trainer.utils import atomic_write
from trainer.viz import artifact_writer

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer

SNAPSHOT_DIR = "progress"
"""Subdirectory of the run directory, and name of the figure with all snapshots."""
MAX_SNAPSHOTS = 8
"""Approximate maximum number of snapshots of a run."""


class SampleSnapshots(Callback):
    """Callback that saves snapshots at some validations, each in a file, so that a resumed run keeps them.

    Args:
        path: Run directory.
        seed: Seed of the noise.
        is_enabled: Whether snapshots are saved.
    """

    def __init__(self, path: Path, seed: int, *, is_enabled: bool = True):
        self.snapshot_dir = path / SNAPSHOT_DIR
        self.seed = seed
        self.is_enabled = is_enabled

    def on_validation_end(self, trainer: Trainer, row: dict[str, float]) -> None:
        if not self.is_enabled or not trainer.strategy.has_full_model:
            return
        previous_step = trainer.history[-2]["step"] if len(trainer.history) > 1 else -1
        if previous_step < 0 or int(MAX_SNAPSHOTS * row["step"] / trainer.total_steps) > int(
            MAX_SNAPSHOTS * previous_step / trainer.total_steps
        ):
            self._save_snapshot(trainer, int(row["epoch"]))

    @torch.no_grad()
    def _save_snapshot(self, trainer: Trainer, epoch: int) -> None:
        with trainer.ema_weights(), rng.fork_rng(self.seed, trainer.device):
            trainer.task.eval()
            samples = trainer.task.sample_preview()
        if samples is None:
            return
        name = f"epoch-{epoch:04d}"
        with atomic_write.catch_write_errors(self.snapshot_dir):
            self.snapshot_dir.mkdir(exist_ok=True)
            atomic_write.remove_leftovers(self.snapshot_dir)
        with atomic_write.replace_file(self.snapshot_dir / f"{name}.npy") as temporary:
            artifact_writer.save_array(samples.cpu(), temporary)
        artifact_writer.write_artifacts(
            trainer.task.render_preview(name, [(f"epoch {epoch}", samples)]), self.snapshot_dir
        )

    def list_files(self) -> list[Path]:
        """Return the files of the snapshots so far, by epoch."""
        return sorted(self.snapshot_dir.glob("epoch-*.npy"))

    def draw_snapshot_strip(self, trainer: Trainer) -> list[Path]:
        """Draw all snapshots of a run side by side.

        Args:
            trainer: Trainer of the run.

        Returns:
            Paths of the figure; empty if there are no snapshots.
        """
        snapshots = [
            (f"epoch {int(file.stem.split('-')[1])}", torch.from_numpy(np.load(file))) for file in self.list_files()
        ]
        return (
            artifact_writer.write_artifacts(
                trainer.task.render_preview(SNAPSHOT_DIR, snapshots), self.snapshot_dir.parent
            )
            if snapshots
            else []
        )
