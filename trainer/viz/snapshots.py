"""What a task makes of the same noise, kept at some validations: how learning looked, in the run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from trainer.core import rng
from trainer.utils import atomic_write
from trainer.viz import artifact_writer

if TYPE_CHECKING:
    from trainer.engine.trainer import Trainer, Watcher

FOLDER = "progress"
KEPT = 8
"""About how many snapshots are kept of a run."""


class Album:
    """Watches a trainer beside another watcher. Each snapshot is a file, so that a resumed run has them all."""

    def __init__(self, watcher: Watcher, path: Path, seed: int, *, is_on: bool = True):
        self.watcher = watcher
        self.folder = path / FOLDER
        self.seed = seed
        self.is_on = is_on

    def stepped(self, trainer: Trainer) -> None:
        self.watcher.stepped(trainer)

    def scored(self, trainer: Trainer, row: dict[str, float]) -> None:
        self.watcher.scored(trainer, row)
        if not self.is_on:
            return
        before = trainer.history[-2]["step"] if len(trainer.history) > 1 else -1
        if int(KEPT * row["step"] / trainer.total_steps) > int(KEPT * before / trainer.total_steps) or before < 0:
            self._take(trainer)

    @torch.no_grad()
    def _take(self, trainer: Trainer) -> None:
        with trainer.averaged(), rng.isolated(self.seed, trainer.device):
            trainer.task.eval()
            taken = trainer.task.snapshot()
        if taken is None:
            return
        name = f"epoch-{trainer.epoch + 1:04d}"
        with atomic_write.written(self.folder):
            self.folder.mkdir(exist_ok=True)
            atomic_write.remove_leftovers(self.folder)
        with atomic_write.replaced(self.folder / f"{name}.npy") as temporary:
            artifact_writer.save_array(taken.cpu(), temporary)
        artifact_writer.draw(trainer.task.shown(name, [(f"epoch {trainer.epoch + 1}", taken)]), self.folder)

    def strip(self, trainer: Trainer) -> list[Path]:
        """Draws the snapshots of a run side by side; gives the picture's path, if there are any."""
        files = sorted(self.folder.glob("epoch-*.npy"))
        shots = [(f"epoch {int(file.stem.split('-')[1])}", torch.from_numpy(np.load(file))) for file in files]
        return artifact_writer.draw(trainer.task.shown(FOLDER, shots), self.folder.parent) if shots else []
